/** Asks the agent over its control socket (lib/agent/control-protocol.ts). */
import { connect } from 'node:net';
import { join } from 'node:path';
import { controlLineBytesMax } from '../agent/control-protocol.ts';
import type { ControlReply, Progress } from '../agent/control-protocol.ts';
import { TvmmpError } from '../errors.ts';
import { configOf } from './command.ts';
import type { CommonOptions } from './command.ts';
import { CliError } from './exit.ts';

/** A protected VM as the agent tells of it. */
export interface VmSummary {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
  readonly holder: string;
  readonly epoch: number;
  readonly entries: number;
  /** Hash of the last entry, hexadecimal. */
  readonly head: string;
}

/** Nobody listens on the agent's socket. */
export class AgentDown extends TvmmpError {
  constructor(path: string, cause: unknown) {
    super(
      'agent-unreachable',
      `tvmmpd does not run here (nobody listens on ${path}); run systemctl start tvmmpd`,
      {
        cause,
      },
    );
  }
}

/** Where the agent of this configuration listens. */
export function agentSocket(options: CommonOptions): string {
  return options.socket ?? join(configOf(options).directories.run, 'agent.sock');
}

/**
 * One request and its result, untyped JSON as the method is documented in lib/agent/methods.ts. Throws what the agent
 * answers (CliError with its code, `refused` for a decision), `agent-unreachable` (AgentDown where it does not run).
 */
export async function askAgent(
  options: CommonOptions,
  method: string,
  params: Readonly<Record<string, unknown>> = {},
  progress: (progress: Progress) => void = () => undefined,
): Promise<unknown> {
  const path = agentSocket(options);
  for await (const reply of replies(path, `${JSON.stringify({ method, params })}\n`)) {
    if ('progress' in reply) progress(reply.progress);
    else if ('error' in reply) throw new CliError(reply.error.code, reply.error.message);
    else return reply.result;
  }
  throw new TvmmpError(
    'agent-unreachable',
    'tvmmpd ended the connection without an answer; see its log (journalctl -u tvmmpd)',
  );
}

/** Lines of the answer, in pieces of bounded size. */
async function* replies(path: string, request: string): AsyncGenerator<ControlReply> {
  const socket = connect(path);
  let parts: Buffer[] = [];
  let length = 0;
  try {
    socket.write(request);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      let rest = chunk;
      for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
        yield parse(Buffer.concat([...parts, rest.subarray(0, end)]));
        [parts, length, rest] = [[], 0, rest.subarray(end + 1)];
      }
      if (rest.length > 0) parts.push(rest);
      length += rest.length;
      if (length > controlLineBytesMax)
        throw new TvmmpError('limit-exceeded', 'an answer of the agent is too long');
    }
  } catch (error) {
    throw explain(error, path);
  } finally {
    socket.destroy();
  }
}

function parse(line: Buffer): ControlReply {
  try {
    return JSON.parse(line.toString()) as ControlReply;
  } catch (cause) {
    throw new TvmmpError(
      'agent-unreachable',
      'tvmmpd answered something that is not JSON; is it of another version?',
      {
        cause,
      },
    );
  }
}

function explain(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return new AgentDown(path, error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new TvmmpError('agent-unreachable', `${path} is for root alone; run this command with sudo`, {
      cause: error,
    });
  }
  if (code === undefined || error instanceof TvmmpError) return error;
  return new TvmmpError('agent-unreachable', `the connection to tvmmpd failed: ${code}`, { cause: error });
}
