/**
 * Seeds that are worth having again. The code and the way in which plans are drawn have changed since most of them were found, so they are further
 * seeds rather than the same runs; what they found has tests of its own in test/unit/migration and `gates.test.ts`.
 */

/** Runs that found something, each with what it was. */
export const found: readonly { readonly seed: number; readonly actions: number; readonly what: string }[] = [
  {
    seed: 3,
    actions: 60,
    what: 'a connection over which nothing came any more kept arrived from being said again',
  },
  {
    seed: 11,
    actions: 60,
    what: 'the ledger heard of an arrival before its source did, which took that for a contradiction',
  },
  {
    seed: 29,
    actions: 60,
    what: 'a departed that nobody had heard yet was forgotten when the VM came back',
  },
  {
    seed: 68,
    actions: 60,
    what: 'a refusal that a full disk kept out of the journal left the source waiting for ever',
  },
  {
    seed: 77,
    actions: 60,
    what: 'a VM that came, and stopped before the agent saw it run, was taken for one that never came: its vTPM was thrown away',
  },
  {
    seed: 213,
    actions: 60,
    what: 'a key that a killed agent had given to libvirt for a start stayed there',
  },
  {
    seed: 9,
    actions: 800,
    what: 'a permit let a VM in that its source had kept and that came from another host since',
  },
  {
    seed: 26,
    actions: 200,
    what: 'a departed that a later proof had brought already was not taken as the answer to arrived, and the session never ended',
  },
  {
    seed: 32,
    actions: 200,
    what: 'abort was said for ever over a connection on which nobody answered',
  },
  {
    seed: 10_000_479,
    actions: 200,
    what: 'a source that refused over a connection that was gone was never over, and counted against its peer',
  },
  {
    seed: 20_000_795,
    actions: 200,
    what: 'the ledger was not told again when another host had taken back what stood against it',
  },
  {
    seed: 50_001_744,
    actions: 200,
    what: 'a refusal after staging that a full disk kept out of the journal left the session staged until the next start of the agent',
  },
  {
    seed: 50_012_987,
    actions: 200,
    what: 'a key came to libvirt after the libvirt that wanted it for a start had ended, and stayed there',
  },
  {
    seed: 50_008_760,
    actions: 200,
    what: 'what a target said against a word that the TPM had still to sign was not heard, and the VM started at the source',
  },
  {
    seed: 70_001_103,
    actions: 200,
    what: 'a session whose end a full disk kept out of the journal, when its VM was given up, was over for the agent and not for the journal',
  },
  {
    seed: 70_004_036,
    actions: 200,
    what: 'a VM was kept by a word about a move that had not begun, and that was over when the word was taken',
  },
  {
    seed: 80_000_157,
    actions: 200,
    what: 'the simulated libvirt had a definition of a VM that had been coming in when it was away, without our metadata, and started it',
  },
  {
    seed: 90_002_304,
    actions: 200,
    what: 'a VM that ran twice was kept by a word while an evacuation was about to take it, which then moved the second copy on',
  },
];
