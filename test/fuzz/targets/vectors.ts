import { readFileSync, readdirSync } from 'node:fs';

const placeOf = (folder: string): URL => new URL(`../../vectors/${folder}/`, import.meta.url);

/** Member `name` of a vector in test/vectors, decoded from base64. */
export function vector(folder: string, file: string, name: string): Uint8Array {
  const members = JSON.parse(readFileSync(new URL(file, placeOf(folder)), 'utf8')) as Readonly<
    Record<string, string>
  >;
  return new Uint8Array(Buffer.from(members[name] ?? '', 'base64'));
}

/** That member of every vector in a folder. */
export function vectors(folder: string, name: string): readonly Uint8Array[] {
  return readdirSync(placeOf(folder)).map((file) => vector(folder, file, name));
}
