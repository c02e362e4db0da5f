/** What to try because the code compared with it: its own words, and the other side of a comparison that failed. */

const GUESSES_MAX = 64;
const BYTES_MAX = 16 * 1024;

/** Words of the code as bytes: texts, and numbers in the widths and byte orders of wire formats. */
export function wordsOf(words: ReadonlySet<string | number>): readonly Uint8Array[] {
  return [...words].flatMap((word) => spellings(word));
}

/**
 * The code compared `a` with `b`, and they differed: where `a` stands in the input, the guess has `b`, and the other way round.
 * `compared` holds pairs, one after the other.
 */
export function comparedGuesses(
  input: Uint8Array,
  compared: readonly (string | number)[],
): readonly Uint8Array[] {
  const guesses: Uint8Array[] = [];
  if (input.length > BYTES_MAX) return guesses;
  const seen = new Set<string>();
  for (let at = 0; at + 1 < compared.length && guesses.length < GUESSES_MAX; at += 2) {
    const [a, b] = [compared[at] ?? 0, compared[at + 1] ?? 0];
    const pair = JSON.stringify([a, b]);
    if (seen.has(pair)) continue;
    seen.add(pair);
    guesses.push(...replaced(input, a, b), ...replaced(input, b, a));
  }
  return guesses.slice(0, GUESSES_MAX);
}

function replaced(input: Uint8Array, old: string | number, wanted: string | number): Uint8Array[] {
  const news = spellings(wanted);
  return spellings(old).flatMap((spelling, index) => {
    const other = news[index];
    const at = Buffer.from(input).indexOf(spelling);
    if (other === undefined || spelling.length === 0 || at < 0) return [];
    return [
      new Uint8Array(Buffer.concat([input.subarray(0, at), other, input.subarray(at + spelling.length)])),
    ];
  });
}

/** A number in 1, 2, 4 bytes, either byte order; in decimal. */
function spellings(word: string | number): Uint8Array[] {
  if (typeof word === 'string') return [Buffer.from(word)];
  if (!Number.isInteger(word) || word < 0 || word > 0xffffffff) return [Buffer.from(String(word))];
  const big = Buffer.alloc(4);
  big.writeUInt32BE(word);
  const little = Buffer.from(big).reverse();
  const of = (width: number): Uint8Array[] => [big.subarray(4 - width), little.subarray(0, width)];
  return [
    Buffer.from(String(word)),
    ...of(4),
    ...(word > 0xffff ? [] : of(2)),
    ...(word > 0xff ? [] : [big.subarray(3)]),
  ];
}
