/**
 * Control characters (Unicode's Cc: C0, DEL, C1), line separators, and marks that turn the direction of text: a terminal
 * obeys them, and what people read is not what is there.
 */
const COMMANDS = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

const escaped = (character: string): string => {
  const code = character.charCodeAt(0);
  if (character === '\n') return '\\n';
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, '0')}`
    : `\\u${code.toString(16).padStart(4, '0')}`;
};

/** Text that others chose (names, commands, labels, purposes), on one line and as harmless as it looks. */
export function printable(text: string): string {
  return text.replace(COMMANDS, escaped);
}

/** Lines of text with such parts in it: keeps ends of lines, and what begins with one of `ours`. */
export function printableLines(text: string, ours: readonly string[] = []): string {
  return text.replace(COMMANDS, (character, at: number) => {
    if (character === '\n') return character;
    if (ours.some((one) => text.startsWith(one, at))) return character;
    return escaped(character);
  });
}

/** JSON with nothing in it that a terminal obeys: JSON.stringify escapes C0 alone. */
export function printableJson(json: string): string {
  return json.replace(COMMANDS, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
