/** What the documents say is there: commands, options, files, texts, codes, limits. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { limits } from '../../../lib/limits.ts';
import { allCommands, helpOf } from '../cli/commands.ts';
import { tvmmp } from '../cli/run-cli.ts';

const documents = [
  'README.md',
  'SPEC.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'hooks/README.md',
  'test/formal/README.md',
  'test/formal/horn/README.md',
] as const;
const texts = new Map(documents.map((name) => [name, readFileSync(name, 'utf8')]));
const commands = allCommands();

function textOf(document: (typeof documents)[number]): string {
  return texts.get(document) ?? '';
}

/** Code of a document: lines of its fenced blocks, and inline spans. */
function codeOf(text: string): readonly string[] {
  const blocks = [...text.matchAll(/^```[a-z]*\n(.*?)^```/gms)].flatMap(([, body = '']) => body.split('\n'));
  const spans = [...text.replaceAll(/^```.*?^```/gms, '').matchAll(/`([^`\n]+)`/g)].map(
    ([, span = '']) => span,
  );
  return [...blocks, ...spans];
}

/** Command lines that begin with a program, each without its comment; also those inside `--via "ssh ... tvmmp ..."`. */
function invocations(program: string): readonly string[] {
  const start = new RegExp(`(?<=^|-- |["(]|[;&] |ssh \\S+ )(${program}(?= |$)[^;|)&]*)`, 'g');
  return ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'hooks/README.md'].flatMap((name) =>
    codeOf(textOf(name as (typeof documents)[number]))
      .map((line) => line.replace(/ #.*$/, ''))
      .filter((line) => !line.includes('printf') && !line.includes('│'))
      .flatMap((line) => [...line.matchAll(start)].map(([, found = '']) => found.trim())),
  );
}

/** The longest command that these words begin with. */
function commandOf(words: readonly string[]) {
  return commands
    .filter((one) => one.words.length > 0 && one.words.every((word, index) => words[index] === word))
    .sort((a, b) => b.words.length - a.words.length)[0];
}

describe('documents', () => {
  const lines = invocations('tvmmp').filter((line) => /^tvmmp [a-z]/.test(line));

  it('name commands of tvmmp that exist, with options that their help has', () => {
    assert.ok(lines.length > 20, `${lines.length} found`);
    for (const line of lines) {
      const [, ...words] = line.split(/\s+/);
      const found = commandOf(words);
      assert.ok(found, `${line}: no such command`);
      const alternatives = words[found.words.length]?.split('|') ?? [];
      if (found.command.commands.length > 0)
        for (const name of alternatives)
          assert.ok(
            found.command.commands.some((child) => child.name() === name),
            `${line}: ${name}`,
          );
      const help = helpOf(found.command);
      const own = line.split(/ --via /)[0] ?? line;
      for (const [, option = ''] of own.matchAll(/\s(--[a-z-]+)/g))
        assert.match(help, new RegExp(`\\s${option}\\b`), `${line}: ${option}`);
    }
  });

  it('and texts of the program name commands of tvmmp that exist', () => {
    const text = execFileSync('git', ['grep', '-hE', '[`(]tvmmp [a-z]|(run|see) tvmmp [a-z]', '--', 'lib'], {
      encoding: 'utf8',
    });
    const named = [...text.matchAll(/(?:[`(]|run |see )tvmmp ([a-z-]+)(?: ([a-z-]+))?/g)];
    assert.ok(named.length > 20, `${named.length} found`);
    for (const [line, noun = '', verb = ''] of named) {
      const found = commandOf([noun, verb]);
      assert.ok(found, line);
      assert.ok(verb === '' || found.command.commands.length === 0 || found.words.length === 2, line);
    }
  });

  it('name scripts that exist and can be run, and commands of the lab that it has', () => {
    const named = new Set(
      documents.flatMap((name) =>
        [...textOf(name).matchAll(/\bscripts\/[\w.-]+(?:\/[\w.-]+)*/g)].map(([path]) =>
          path.replace(/\.$/, ''),
        ),
      ),
    );
    assert.ok(named.has('scripts/demo') && named.has('scripts/test'));
    for (const path of named) {
      assert.ok(existsSync(path), path);
      if (!/\.(ts|sh|mjs)$/.test(path)) accessSync(path, constants.X_OK);
    }
    const help = execFileSync('scripts/lab', ['help'], { encoding: 'utf8' });
    for (const line of invocations('scripts/lab')) {
      const [, command = ''] = line.split(/\s+/);
      if (!/^[a-z]/.test(command) || command === 'help') continue;
      assert.match(help, new RegExp(`^  (?:[a-z-]+ HOST \\| )?${command}\\b`, 'm'), line);
    }
  });

  it('have a demo and a bench whose options are those that are named', () => {
    for (const script of ['scripts/demo', 'scripts/bench'])
      assert.match(execFileSync(script, ['--help'], { encoding: 'utf8' }), /--json/);
  });

  for (const name of documents) {
    it(`${name} names files and links that exist`, () => {
      const text = textOf(name);
      const paths = codeOf(text).flatMap((code) => [
        ...code.matchAll(/(?:^|[\s(])((?:lib|native|hooks|packaging|test|\.ci)\/[\w./-]*)/g),
      ]);
      for (const [, path = ''] of paths) {
        if (path === 'hooks/qemu' || path.startsWith('hooks/qemu.d')) continue; // libvirt's
        assert.ok(existsSync(path.replace(/[.,:]$/, '')), path);
      }
      const folder = name.includes('/') ? `${name.slice(0, name.lastIndexOf('/'))}/` : '';
      for (const [, link = ''] of text.matchAll(/\]\(([^)#]+)\)/g))
        if (!link.startsWith('https://')) assert.ok(existsSync(folder + link), link);
    });

    it(`${name} promises nothing for later, praises nothing, and names no place of somebody's machine`, () => {
      const banned =
        /\b(?:TODO|FIXME|XXX|TBD|lorem|seamless(?:ly)?|blazing|cutting-edge|state-of-the-art|world-class|effortless(?:ly)?|revolutionary|military-grade|unhackable|bulletproof)\b|\/home\/|(?<!var)\/tmp\/|\/work\//i;
      assert.equal(banned.exec(textOf(name))?.[0], undefined);
    });
  }
});

describe('README', () => {
  const sources = execFileSync('git', ['grep', '-h', '', '--', 'lib', 'native'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  }).replaceAll(/['`] \+\s*['`]/g, '');

  /** What a source says between its values; `...` and names of hosts and VMs stand for values. */
  function fragments(text: string): readonly string[] {
    return text
      .split(/\.\.\.|\bweb\b|\bbeta\b|\b(?:HOST|ALPHA|BETA)\b|<tpm>|\b\d+\b|\bfleet\b|\bNFS\b/)
      .map((part) => part.trim().replace(/^[;:,]|[;:,]$/g, ''))
      .filter((part) => part.length > 8);
  }

  it('quotes refusals as the sources have them', () => {
    const rows = [...textOf('README.md').matchAll(/^\| (.+?) \| .+ \| .+ \|$/gm)].map(
      ([, first = '']) => first,
    );
    const quoted = rows.filter((row) => row.includes('`') && row.includes(' ')).flatMap((row) => codeOf(row));
    const parts = quoted.flatMap(fragments);
    assert.ok(parts.length > 20, `${parts.length} found`);
    for (const part of parts) assert.ok(sources.includes(part), part);
  });

  it('explains every error code, and no other', () => {
    const union = /export type ErrorCode =(.*?);/s.exec(readFileSync('lib/errors.ts', 'utf8'))?.[1] ?? '';
    const codes = [...union.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code);
    const table = /^\| Code \| Meaning \|\n(?:\|.*\n)+/m.exec(textOf('README.md'))?.[0] ?? '';
    const explained = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
    assert.deepEqual([...explained].sort(), [...codes].sort());
  });

  it('and SPEC and tvmmp --help tell the same exit codes', async () => {
    const { stdout } = await tvmmp(['--help']);
    const told =
      '0 done, 1 refused, 2 unusable input or usage, 3 fault (TPM, libvirt, network, agent not reachable)';
    for (const text of [textOf('README.md'), textOf('SPEC.md'), stdout]) assert.ok(text.includes(told));
  });
});

describe('SPEC 11', () => {
  const table = /^## 11\. Limits.*?(?=^## 12\.)/ms.exec(textOf('SPEC.md'))?.[0] ?? '';
  const bounds = new Map(
    [...table.matchAll(/^\| (.+?) \| (.+?) \|$/gm)].map(([, what = '', bound = '']) => [what, bound]),
  );
  const number = (value: number): string => value.toLocaleString('en-US');
  const bytes = (value: number): string =>
    value % (1024 * 512) === 0 ? `${value / 1024 / 1024} MiB` : `${value / 1024} KiB`;
  const seconds = (ms: number): string => `${ms / 1000} s`;
  const client = (name: string): number =>
    Number(
      new RegExp(`DEADLINE_${name}_MS = (\\d+)`).exec(readFileSync('native/hook-client.c', 'utf8'))?.[1],
    );
  const expected: Readonly<Record<string, string>> = {
    frame: bytes(limits.frameBytesMax),
    'logs of a peer': `pieces of ${bytes(limits.logPieceBytesMax)}; ${bytes(limits.logTailBytesMax)} at the end of the IMA list for the match; ${bytes(limits.logsHeldBytesMax)} kept on their way in all; ${limits.logPeersRememberedMax} peers remembered`,
    'row of the ledger': `${bytes(limits.ledgerRowBytesMax)}; an answer ${seconds(limits.ledgerDeadlineMs)}, of one member ${seconds(limits.ledgerAttemptMs)}`,
    'hello, evidence': bytes(limits.helloBytesMax),
    'entries in a proof': `${number(limits.proofEntriesMax)}, ${bytes(limits.proofBytesMax)}`,
    'summary of a checkpoint': `${bytes(limits.summaryBytesMax)}, ${limits.summaryHandoversMax} hand-overs, ${limits.summaryMarksMax} marks; one due after ${limits.checkpointEntries} entries`,
    'how long a use of a slow TPM waits for others (5.2)': seconds(limits.gatheringMs),
    'how long an envelope stays open that was opened ahead (5.2)': seconds(limits.keysHeldMs),
    'how long *arrived* waits for keys at a slow TPM (5.2)': seconds(limits.givingWayMs),
    "moves that a source begins at once / that a target's hook deals with at once": `${limits.startsMax} / ${limits.admissionsMax}`,
    'session until *staged*': `${seconds(limits.sessionDeadlineMs)}; each wait for a message ${seconds(limits.messageDeadlineMs)}`,
    'attestation of a VM': `${bytes(limits.attestationBytesMax)}; a nonce of ${limits.attestationNonceBytesMin} to ${limits.attestationNonceBytesMax} bytes; ${limits.attestationsAtOnceMax} in the making at once; ${limits.attestationsBurst} in a row, ${limits.attestationsPerMinute} a minute after that`,
    permit: `${seconds(limits.permitLifeMs)} from *staged*`,
    TrustedPeer: seconds(limits.trustedPeerLifeMs),
    'appraisals of a host by itself (16)': `${limits.selfAppraisalSecondsMin} s to ${number(limits.selfAppraisalSecondsMax)} s apart; for a longer IMA list, looked for every ${seconds(limits.selfAppraisalTickMs)}, at least ${seconds(limits.selfAppraisalPauseMs)} apart`,
    'attestations to peers (16.4)': `to ${limits.attestPeersMax} peers; of ${limits.peerAttestationsAtOnceMax} hosts at once, each once; ${seconds(limits.attestBackOffMs)} between two attempts at most`,
    'domain XML': bytes(limits.domainXmlBytesMax),
    'event log': `${bytes(limits.eventLogBytesMax)}, ${number(limits.eventsMax)} events, ${bytes(limits.eventDataBytesMax)} of data an event`,
    'IMA list': `${bytes(limits.imaListBytesMax)}, ${number(limits.imaEntriesMax)} entries, ${bytes(limits.imaEntryBytesMax)} of data an entry`,
    'line of an enrolment': `${bytes(limits.enrolmentLineBytesMax)}; each wait ${seconds(limits.enrolmentStepDeadlineMs)}`,
    policy: `${bytes(limits.policyBytesMax)}, ${number(limits.policyStatesMax)} states, ${number(limits.policyDomainsMax)} other domains; ${bytes(limits.policyEnvelopeBytesMax)} as an envelope`,
    'reference values': bytes(limits.referenceBytesMax),
    'tenant policy': bytes(limits.tenantPolicyBytesMax),
    'attestation result': bytes(limits.resultBytesMax),
    'rescue, and the request for one': bytes(limits.rescueBytesMax),
    'revocation list': `${bytes(limits.revocationsBytesMax)}, ${number(limits.revocationsMax)} keys; ${bytes(limits.policyEnvelopeBytesMax)} as an envelope`,
    'new sessions of one peer: at once / a minute after that': `${limits.sessionsPerPeerBurst} / ${limits.sessionsPerPeerPerMinute}`,
    'sessions in the making (6.8: neither committed nor over) at once per peer / in all': `${limits.sessionsPerPeerMax} / ${limits.sessionsMax}`,
    "connections to the agent's port at once per address / in all": `${limits.connectionsPerAddressMax} / ${limits.connectionsMax}`,
    'hook deadline': `${seconds(client('MIGRATE'))} (\`migrate begin\`), ${seconds(client('GATE'))} (\`prepare begin\`), ${seconds(client('NOTICE'))} others`,
    'session ids remembered': `${limits.sessionIdMemoryMs / 86_400_000} days`,
    'earlier vTPM states remembered, per VM': number(limits.vtpmStatesRememberedMax),
    'what nothing waits for, until it is anchored': `${limits.anchorDelayMs / 60_000} min`,
  };

  it('is what lib/limits.ts and the hook client hold', () => {
    bounds.delete('What');
    bounds.delete('---');
    for (const [what, bound] of bounds) assert.equal(bound, expected[what], what);
    for (const what of Object.keys(expected)) assert.ok(bounds.has(what), what);
  });

  it('leaves the agent time to refuse before the hook client gives up', () => {
    assert.ok(client('MIGRATE') - limits.migrateHookDeadlineMs > 0);
    assert.ok(client('GATE') - limits.prepareHookDeadlineMs > 0);
  });
});
