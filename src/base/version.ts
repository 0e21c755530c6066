import { readFileSync } from 'node:fs';

/** The version in package.json, which is found from the compiled file's place. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  }
).version;

/** Builds with a prerelease tag may read drafts of the format. */
export function isPrerelease(): boolean {
  return version.includes('-');
}
