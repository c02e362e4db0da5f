import { Option } from 'commander';
import type { Command } from 'commander';
import type { Reference } from '../appraisal/reference.ts';
import { limits } from '../limits.ts';
import { withAuthority, withPassphrase } from './authority-directory.ts';
import type { PassphraseOptions } from './authority-directory.ts';
import { collect, leaf, noun } from './command.ts';
import type { CommonOptions } from './command.ts';
import { readText, writeOutput } from './files.ts';
import { paint, print, printJson, timeText } from './output.ts';
import { addCapture } from './reference-capture.ts';

/** An envelope's base64 and the rest of it. */
const ENVELOPE_BYTES_MAX = limits.referenceBytesMax * 1.5;

/** `tvmmp reference`. */
export function addReference(program: Command): void {
  const reference = noun(
    program,
    'reference',
    'what good hosts measure, and what packages hash to',
    'Reference values come from a known-good host (capture) or from the files of packages before they are installed anywhere ' +
      '(files), are put together while an update is rolled out (merge), and fill policies in (tvmmp policy new and sign, ' +
      '--reference).',
  );
  addCapture(reference);
  addFiles(reference);
  addMerge(reference);
  addSign(reference);
  addShow(reference);
}

interface FilesOptions extends CommonOptions {
  readonly only?: readonly string[];
  readonly except?: readonly string[];
  readonly hash: string;
  readonly splitUsr?: boolean;
  readonly output?: string;
}

function addFiles(reference: Command): void {
  leaf(reference, {
    usage: 'files <path...>',
    summary: 'digests of the files of packages, before they are installed',
    description:
      'Hashes the regular files of Debian packages (.deb, unpacked with dpkg-deb, nothing of them is run), or of directories that ' +
      'stand for the root of a file system. What a package makes when it is installed (an initramfs, caches) is not among ' +
      'them: capture it from a host that has the update. Paths under /bin, /sbin and /lib are written with /usr before them, as ' +
      'kernels with a merged /usr measure them.',
    examples: [
      ['tvmmp reference files *.deb --only "/usr/bin/**" --only "/usr/lib/**" -o update.json', 'An update.'],
      ['tvmmp reference files /srv/image --except "/usr/share/**" -o image.json', 'A tree.'],
    ],
  })
    .option(
      '--only <pattern>',
      'paths that count (* is anything but /, ** anything); may be given several times',
      collect,
    )
    .option('--except <pattern>', 'paths that do not count; may be given several times', collect)
    .addOption(
      new Option('--hash <algorithm>', 'what hosts measure files with (ima_hash)')
        .choices(['sha1', 'sha256', 'sha384', 'sha512'])
        .default('sha256'),
    )
    .option('--split-usr', 'leave paths as they are in the package')
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async (paths: readonly string[], options: FilesOptions) => {
      const { mergeReferences } = await import('../appraisal/reference-merge.ts');
      const { readPackage } = await import('./package-files.ts');
      const { only = [], except = [], splitUsr = false } = options;
      const time = new Date();
      const read = paths.map((path): Reference => {
        const { name, files } = readPackage(path, { algorithms: [options.hash], only, except, splitUsr });
        const sources = [{ name, kind: 'files', time, versions: {} }] as const;
        return { sources, states: [], ima: { files: Object.fromEntries(files) } };
      });
      await writeReference(mergeReferences(read), options);
    });
}

function addMerge(reference: Command): void {
  leaf(reference, {
    usage: 'merge <file...>',
    summary: 'put reference values together',
    description:
      'What any of the files accepts, the result accepts: old and new versions side by side, while an update is rolled out. Of the ' +
      'keys that dbx must hold it asks for those that all of them have. States of one name have to be one.',
    examples: [['tvmmp reference merge alpha.json update.json -o fleet.json', 'During a roll-out.']],
  })
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async (files: readonly string[], options: CommonOptions & { readonly output?: string }) => {
      const { parseReference } = await import('../appraisal/reference.ts');
      const { mergeReferences } = await import('../appraisal/reference-merge.ts');
      const read = files.map((file) => parseReference(readText(file, ENVELOPE_BYTES_MAX)));
      await writeReference(mergeReferences(read), options);
    });
}

function addSign(reference: Command): void {
  withPassphrase(
    leaf(reference, {
      usage: 'sign <authority> <file>',
      summary: 'sign reference values with an authority',
      description:
        'Signs with the policy key, so that whoever fills in a policy later knows that they are those that were looked at: tvmmp ' +
        'policy sign refuses signed ones of another authority.',
      examples: [
        ['tvmmp reference sign /srv/authority alpha.json -o alpha.signed.json', 'After reading it.'],
      ],
    }).option('-o, --output <file>', 'write it there instead of to standard output'),
  ).action(
    async (directory: string, file: string, options: PassphraseOptions & { readonly output?: string }) => {
      const { parseReference, signReference } = await import('../appraisal/reference.ts');
      const read = parseReference(readText(file, ENVELOPE_BYTES_MAX));
      const text = await withAuthority(directory, options, (authority) =>
        Promise.resolve(signReference(read, authority.policyKeys())),
      );
      if (options.output === undefined) print(text);
      else writeOutput(options.output, text);
    },
  );
}

function addShow(reference: Command): void {
  leaf(reference, {
    usage: 'show <file>',
    summary: 'what is in reference values',
    description: 'Where they come from, and how much they hold. Signatures are not looked at.',
    examples: [['tvmmp reference show fleet.json', 'Before a policy is filled in.']],
  }).action(async (file: string, options: CommonOptions) => {
    const { isSignedReference, parseReference } = await import('../appraisal/reference.ts');
    const text = readText(file, ENVELOPE_BYTES_MAX);
    const found = { signed: isSignedReference(text), ...summaryOf(parseReference(text)) };
    if (options.json === true) printJson(found);
    else
      print(
        ...found.sources.map(({ name, kind, time }) => `${kind} ${name}, ${timeText(time)}`),
        `states: ${found.states.join(', ') || 'none'}`,
        `event log: ${found.eventLog.join(', ') || 'nothing'}`,
        `files: ${found.files}${found.excluded > 0 ? `, and ${found.excluded} patterns of paths that are not looked at` : ''}`,
      );
  });
}

/** What is in them, without the values. */
function summaryOf({ sources, states, eventLog = {}, ima }: Reference) {
  return {
    sources,
    states: states.map(({ name }) => name),
    eventLog: Object.keys(eventLog),
    files: Object.keys(ima?.files ?? {}).length,
    excluded: ima?.excluded?.length ?? 0,
  };
}

/** Writes reference values to a file or standard output; what cannot be read again is not written. */
export async function writeReference(
  reference: Reference,
  { output, json }: { readonly output?: string; readonly json?: boolean },
  notes: readonly string[] = [],
): Promise<void> {
  const { formatReference, parseReference } = await import('../appraisal/reference.ts');
  const text = formatReference(reference);
  parseReference(text);
  if (output === undefined) {
    process.stdout.write(text);
    if (notes.length > 0) process.stderr.write(`${notes.map((note) => `tvmmp: ${note}`).join('\n')}\n`);
    return;
  }
  writeOutput(output, text);
  const found = summaryOf(reference);
  if (json === true) printJson({ file: output, ...found, notes });
  else
    print(
      `${found.states.length} states, ${found.eventLog.length} rules about event logs, ${found.files} files: ${output}`,
      ...notes.map((note) => paint('yellow', note)),
    );
}

/** Reference values of several files as one; those that are signed have to be of this authority. Throws `policy-invalid`. */
export async function readReferences(
  files: readonly string[],
  verify: ((envelope: string) => Reference) | null,
): Promise<Reference> {
  const { isSignedReference, parseReference } = await import('../appraisal/reference.ts');
  const { mergeReferences } = await import('../appraisal/reference-merge.ts');
  const read = files.map((file) => {
    const text = readText(file, ENVELOPE_BYTES_MAX);
    return verify !== null && isSignedReference(text) ? verify(text) : parseReference(text);
  });
  return mergeReferences(read);
}
