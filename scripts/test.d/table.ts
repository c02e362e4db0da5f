/** A column of a table that is printed: its head and its width in characters. */
export interface Column {
  readonly head: string;
  readonly width: number;
}

/** Rows under heads, each cell wrapped at blanks to its column's width; the last column is not padded. */
export function tableText(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const rule = columns.map(({ width }) => '-'.repeat(width));
  const lines = [columns.map(({ head }) => head), rule, ...rows].flatMap((row) => {
    const cells = columns.map(({ width }, index) => wrapped(row[index] ?? '', width));
    const height = Math.max(...cells.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) =>
      columns
        .map(({ width }, index) => (cells[index]?.[line] ?? '').padEnd(width))
        .join('  ')
        .trimEnd(),
    );
  });
  return `${lines.join('\n')}\n`;
}

function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
