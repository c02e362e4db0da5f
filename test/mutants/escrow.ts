/** Copies of keys for the authority (SPEC 15). */
import { mutantsOf } from './mutant.ts';

const host = 'test/unit/migration/escrow.test.ts';
const member = 'test/unit/appraisal/escrow-member.test.ts';
const sealed = 'test/native/escrow.test.ts';

export const escrow = [
  ...mutantsOf('lib/migration/escrow.ts', host, [
    {
      name: 'escrow/tenant-forbids',
      defence: 'The tenant of a VM keeps its key out of escrow',
      spec: '10.5, 15.2',
      find: "    if (tenantOf(this.#host, chain)?.escrow === 'no') return null;\n",
      replace: '    void tenantOf;\n',
      title:
        'are kept of no VM whose tenant forbids it, from its policy on, whatever the policy of the hosts says',
    },
    {
      name: 'escrow/goes-with-the-policy',
      defence: 'Copies go where the policy has escrow no more',
      spec: '15.2',
      find: '      forgetEscrow(journal, uuid);\n      return;',
      replace: '      return;',
      title: 'come with a policy, are sealed anew for another key, and go with the policy',
    },
  ]),
  ...mutantsOf('lib/migration/destruction.ts', host, [
    {
      name: 'escrow/goes-with-the-key',
      defence: 'A host that destroys its sealed key destroys the copy too',
      spec: '15.2',
      find: '  forgetEscrow(host.journal, vm.uuid);\n',
      replace: '  void forgetEscrow;\n',
      title: 'are made where a VM arrives, and gone where it left',
    },
  ]),
  ...mutantsOf('lib/appraisal/policy.ts', member, [
    {
      name: 'escrow/key-of-its-own',
      defence: 'The escrow key is neither the root key nor the policy key',
      spec: '15.1',
      find: '  requireOwnEscrowKey(policy, trust);\n',
      replace: '  void requireOwnEscrowKey;\n',
      title: 'is not the key of the root, nor the one that signs policies',
    },
  ]),
  ...mutantsOf('native/receive-key.cc', sealed, [
    {
      name: 'escrow/label',
      defence: 'What is sealed for a host and what is sealed for escrow are two kinds, by their labels',
      spec: '15.2',
      find: '  key.label = "tvmmp/seal/1";\n',
      replace: '  key.label = "tvmmp/escrow-seal/1";\n',
      title: 'is what the specification says, and the key that the host has',
    },
  ]),
];
