/** A VM that the attacker's host hands over by the book, as far as *staged*: with a permit and a good key at the target. */
import { H } from '../../lib/encoding/hash.ts';
import { canonicalFacts } from '../../lib/libvirt/canonical-facts.ts';
import { facts as factsOf } from '../../lib/libvirt/facts.ts';
import { statements } from '../../lib/migration/hello.ts';
import { keyContext } from '../../lib/migration/key-context.ts';
import type { KeyContext } from '../../lib/migration/key-context.ts';
import { loadBridge } from '../../lib/native/bridge.ts';
import { nameOf } from '../../lib/tpm/public-area.ts';
import type { TlsChannel } from '../../lib/agent/tls-channel.ts';
import { AttackerChain, hostOf } from './attacker-chain.ts';
import { expectMessage, fresh } from './attacker.ts';
import type { Attacker } from './attacker.ts';

/** See the head of this file. */
export interface StagedVm {
  readonly uuid: string;
  /** What libvirt would show the target's hook. */
  readonly xml: string;
  /** The source takes it back; the target forgets it. */
  readonly abort: () => Promise<void>;
}

/** Stages a VM `moved` at a host, made after `model`, the XML of another one; its key is sealed for this VM and session, unless said otherwise. */
export async function stageAt(
  attacker: Attacker,
  host: string,
  model: string,
  sealedFor: Partial<KeyContext> = {},
): Promise<StagedVm> {
  const chain = new AttackerChain(attacker);
  const session = fresh();
  const { agent } = attacker.hello('source', session, chain.vm);
  const xml = model
    .replace(/<uuid>[^<]+</, `<uuid>${chain.vm}<`)
    .replace(/<name>[^<]+</, '<name>moved<')
    .replace(/agent=(["'])[^"']*\1/, `agent='${agent}'`);
  chain.facts = H('tvmmp/facts/1', canonicalFacts(factsOf(xml)));
  await chain.add('created');
  await chain.add('started');
  const channel = await attacker.connect(host);
  await handOver(channel, chain, session, sealedFor);
  return {
    uuid: chain.vm,
    xml,
    abort: async () => {
      await channel.send({ kind: 'abort', session, head: chain.head });
      await expectMessage(channel, 'aborted');
      channel.close();
    },
  };
}

async function handOver(
  channel: TlsChannel,
  chain: AttackerChain,
  session: Uint8Array,
  sealedFor: Partial<KeyContext>,
): Promise<void> {
  const own = chain.attacker.hello('source', session, chain.vm);
  await channel.send(own);
  const peer = await expectMessage(channel, 'hello');
  const evidence = await expectMessage(channel, 'evidence');
  const claim = await chain.depart(hostOf(peer), session, statements(channel, own, peer).source(evidence));
  const recipient = nameOf(peer.receivePublic);
  const sealed = await loadBridge().createSealedKey({
    recipientPublic: peer.receivePublic,
    context: keyContext({ vm: chain.vm, epoch: 0, session, recipient, ...sealedFor }),
  });
  await channel.send({ kind: 'offer', session, claim, proof: chain.proof(), sealed });
  await expectMessage(channel, 'staged');
}
