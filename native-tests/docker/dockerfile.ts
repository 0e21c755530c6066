/** The instructions of a Dockerfile that a replay knows; everything else is refused by name. */
export type Instruction =
  | { readonly kind: 'WORKDIR'; readonly line: string; readonly path: string }
  | {
      readonly kind: 'COPY';
      readonly line: string;
      readonly from?: string;
      readonly paths: readonly string[];
    }
  | { readonly kind: 'RUN'; readonly line: string; readonly command: string };

export interface Stage {
  readonly image: string;
  readonly name: string;
  readonly instructions: Instruction[];
}

export interface Dockerfile {
  readonly stages: readonly Stage[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly stopSignal: NodeJS.Signals;
  /** What `docker run` adds to the default capabilities, from the comment at the file's head. */
  readonly capabilities: readonly string[];
}

/** Lines without comments, those that end in a backslash joined with the next. */
function logicalLines(text: string): string[] {
  const lines: string[] = [];
  let open = '';
  for (const line of text.split('\n')) {
    if (line.trimStart().startsWith('#') || (open === '' && line.trim() === '')) continue;
    if (line.trimEnd().endsWith('\\')) open += `${line.trimEnd().slice(0, -1).trim()} `;
    else {
      lines.push((open + line.trim()).trim());
      open = '';
    }
  }
  return lines;
}

function refuse(line: string, why: string): never {
  throw new Error(`the replay does not know this, teach it first: ${why}: ${line}`);
}

function words(line: string, rest: string): string[] {
  if (/["'$*?[\]<>]/.test(rest)) refuse(line, 'quotes, variables, patterns or here-documents');
  return rest.split(/\s+/);
}

function argumentList(line: string, rest: string): string[] {
  if (!rest.startsWith('[')) refuse(line, 'a shell form');
  return JSON.parse(rest) as string[];
}

function copy(line: string, rest: string): Instruction {
  const all = words(line, rest);
  const from = /^--from=(.+)$/.exec(all[0] ?? '')?.[1];
  const paths = from === undefined ? all : all.slice(1);
  if (paths.some((path) => path.startsWith('--'))) refuse(line, 'an option of COPY');
  if (paths.length < 2) refuse(line, 'COPY without a destination');
  if (paths.length > 2 && !paths.at(-1)?.endsWith('/')) refuse(line, 'several sources, no directory');
  return { kind: 'COPY', line, paths, ...(from === undefined ? {} : { from }) };
}

/** Reads a Dockerfile; throws at the first line that a replay would not do as Docker does. */
export function parseDockerfile(text: string): Dockerfile {
  const stages: Stage[] = [];
  let entrypoint: string[] = [];
  let cmd: string[] = [];
  let stopSignal: NodeJS.Signals = 'SIGTERM';
  for (const line of logicalLines(text)) {
    const [, name = '', rest = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
    const kind = name.toUpperCase();
    if (kind === 'FROM') {
      const [image = '', as, stage, ...more] = words(line, rest);
      if (image.startsWith('--') || more.length > 0) refuse(line, 'an option of FROM');
      if (as !== undefined && as.toUpperCase() !== 'AS') refuse(line, 'FROM');
      if (stages.some((one) => one.name === image)) refuse(line, 'a stage on top of a stage');
      stages.push({ image, name: stage ?? String(stages.length), instructions: [] });
      // Nothing of these is inherited from another stage.
      entrypoint = [];
      cmd = [];
      stopSignal = 'SIGTERM';
      continue;
    }
    const instructions = stages.at(-1)?.instructions;
    if (instructions === undefined) refuse(line, `${kind} before FROM`);
    if (kind === 'WORKDIR') {
      const [path = '', ...more] = words(line, rest);
      if (!path.startsWith('/') || more.length > 0) refuse(line, 'a WORKDIR that is not absolute');
      instructions.push({ kind, line, path });
    } else if (kind === 'COPY') {
      instructions.push(copy(line, rest));
    } else if (kind === 'RUN') {
      if (/^(\[|--)/.test(rest) || rest.includes('<<'))
        refuse(line, 'RUN in another form than the shell form');
      instructions.push({ kind, line, command: rest });
    } else if (kind === 'STOPSIGNAL') {
      if (!/^SIG[A-Z]+$/.test(rest)) refuse(line, 'a signal by another name');
      stopSignal = rest as NodeJS.Signals;
    } else if (kind === 'ENTRYPOINT') {
      entrypoint = argumentList(line, rest);
      cmd = [];
    } else if (kind === 'CMD') {
      cmd = argumentList(line, rest);
    } else {
      refuse(line, `instruction ${kind}`);
    }
  }
  if (stages.length === 0) throw new Error('the Dockerfile has no FROM');
  const capabilities = [...text.matchAll(/^#.*$/gm)].flatMap(([comment]) =>
    [...comment.matchAll(/--cap-add[ =](\w+)/g)].map((match) => (match[1] as string).toLowerCase()),
  );
  return { stages, entrypoint, cmd, stopSignal, capabilities };
}

/** The names that .dockerignore keeps out of the build context. Plain names at its top only. */
export function parseIgnored(text: string): Set<string> {
  const names = logicalLines(text);
  for (const name of names) if (!/^[\w.-]+$/.test(name)) refuse(name, 'a pattern in .dockerignore');
  return new Set(names);
}
