/** What a lab's TPM relay was asked: the lines of its log (scripts/lab.d/host-tpm-relay), counted by command. */

/** Command codes (TPM 2.0 Library, Part 2, 6.5.2) that an agent sends while VMs move. */
const names: Readonly<Record<string, string>> = {
  '00000134': 'NV_Increment',
  '0000014e': 'NV_Read',
  '00000154': 'ECDH_ZGen',
  '00000157': 'Load',
  '00000158': 'Quote',
  '00000165': 'FlushContext',
  '00000167': 'LoadExternal',
  '00000169': 'NV_ReadPublic',
  '0000016a': 'PolicyAuthorize',
  '00000173': 'ReadPublic',
  '00000176': 'StartAuthSession',
  '00000177': 'VerifySignature',
  '0000017a': 'GetCapability',
  '0000017e': 'PCR_Read',
  '0000017f': 'PolicyPCR',
};

/** How many there were of each command, the most frequent first. */
export function commandsOf(log: string): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const line of log.split('\n').filter((text) => text !== '')) {
    const code = line.split(' ')[2] ?? '';
    const name = names[code] ?? `0x${code}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/** `Quote 12, NV_Increment 9`. */
export function toldCommands(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
