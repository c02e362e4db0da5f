import type { Command } from 'commander';
import { leaf } from './command.ts';
import { emit } from './files.ts';

/** `tvmmp policy schema`. */
export function addSchema(policy: Command): void {
  leaf(policy, {
    usage: 'schema',
    summary: 'the JSON Schema of a policy',
    description:
      'Writes the JSON Schema (draft 2020-12) of a draft, for editors that check and complete while one types; under ' +
      '$defs/signed that of the payload of a signed policy. tvmmp policy check knows more than a schema can say.',
    examples: [['tvmmp policy schema -o policy.schema.json', 'For the editor.']],
  })
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async ({ output }: { readonly output?: string }) => {
      const { policySchema } = await import('../appraisal/policy-schema.ts');
      emit(`${JSON.stringify(policySchema(), null, 2)}\n`, output);
    });
}
