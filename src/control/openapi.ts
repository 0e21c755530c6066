import { z } from 'zod';
import { Failure, type FailureCode, failureCodes } from '../base/failure.js';
import { routeSchemas } from './route-schemas.js';
import { parametersOf, RESULT_HEADER, type RouteName, routeNames, routeOf } from './routes.js';
import { problemSchema } from './schemas.js';

type Json = Record<string, unknown>;

const parameterText: Record<string, string> = {
  scope: 'id, or path from the mount with `/` written as %2F',
  lease: 'id',
  slot: 'number or label',
};

function jsonSchema(schema: z.ZodType): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Json;
  return rest;
}

/** The query parameters of a route, from the schema that validates them. */
export function queryOf(name: RouteName): { name: string; required: boolean; schema: Json }[] {
  const schema = jsonSchema(routeSchemas[name].query) as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    required: schema.required?.includes(name) === true,
    schema: property,
  }));
}

function operation(name: RouteName): Json {
  const route = routeOf(name);
  return {
    operationId: name,
    summary: route.summary,
    parameters: [
      ...parametersOf(route).map((parameter) => ({
        name: parameter,
        in: 'path',
        required: true,
        description: parameterText[parameter],
        schema: { type: 'string' },
      })),
      ...queryOf(name).map((parameter) => ({ in: 'query', ...parameter })),
    ],
    ...(route.secret === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            description: 'the secret, raw: at most 4,096 bytes and a newline',
            content: { 'application/octet-stream': {} },
          },
        }),
    responses: {
      [route.status]: {
        description: 'done',
        content: {
          'application/json': { schema: jsonSchema(routeSchemas[name].response) },
          ...(route.issues === undefined ? {} : { 'application/octet-stream': {} }),
        },
        ...(route.issues === undefined
          ? {}
          : {
              headers: {
                [RESULT_HEADER]: {
                  description: 'the JSON, percent-encoded, where the body is shares',
                  schema: { type: 'string' },
                },
              },
            }),
      },
      default: {
        description: 'a problem (RFC 9457)',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}

/** The whole interface, generated from the rows and schemas that the server uses. */
export function openApi(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const name of routeNames) {
    const route = routeOf(name);
    paths[route.path] = { ...paths[route.path], [route.method]: operation(name) };
  }
  const problem = jsonSchema(problemSchema) as { properties: Record<string, Json> };
  problem.properties.code = { type: 'string', enum: [...failureCodes] };
  return {
    openapi: '3.1.0',
    info: {
      title: 'scopefs',
      version,
      description: 'Control of a mounted vault, on its Unix socket. Callers are known by SO_PEERCRED.',
    },
    paths,
    components: { schemas: { Problem: problem } },
  };
}

/** What the client holds replies against (client/reply-schemas.ts): JSON Schema, as zod takes a third of a command's start. */
export function replySchemasText(): string {
  const rows = [
    ...routeNames.map((name) => [name, routeSchemas[name].response] as const),
    ['problem', problemSchema] as const,
  ];
  return [
    "import type { Schema } from '@cfworker/json-schema';",
    "import type { RouteName } from '../routes.js';",
    '',
    '/** Generated from control/route-schemas.ts; a test keeps it true (SCOPEFS_WRITE=1 node dist/src/control/openapi.test.js). */',
    "export const replySchemas: Readonly<Record<RouteName | 'problem', Schema>> = {",
    ...rows.map(([name, schema]) => `  ${name}: ${JSON.stringify(jsonSchema(schema))},`),
    '};',
    '',
  ].join('\n');
}

/** The interface as people read it: API.md. */
export function apiText(): string {
  const lines = [
    '# The HTTP interface',
    '',
    'Generated from the schemas that validate (`control/routes.ts`, `control/schemas.ts`); a test keeps it true. The',
    'same as OpenAPI 3.1: `GET /v1/openapi.json`. It listens on a Unix socket of mode 0600, `/run/scopefs/VOLUMEID.sock`',
    'unless `--host` says otherwise. Unknown parameters are refused. Every reply has `x-request-id`.',
    '',
    '    curl --unix-socket /run/scopefs/ID.sock http://localhost/v1/scopes',
    '    curl --unix-socket /run/scopefs/ID.sock -H content-type:application/octet-stream \\',
    "      --data-binary @key 'http://localhost/v1/leases?scope=users/alice&ttl=15m'",
    '',
    '| route | query (`?` optional) | body | reply | |',
    '|---|---|---|---|---|',
  ];
  for (const name of routeNames) {
    const route = routeOf(name);
    const query = queryOf(name).map((one) => `${one.name}${one.required ? '' : '?'}`);
    const reply = jsonSchema(routeSchemas[name].response) as { properties?: Record<string, Json> };
    const cells = [
      `\`${route.method.toUpperCase()} ${route.path}\``,
      query.join(', '),
      route.secret === true ? 'secret' : '',
      `${route.status}: ${Object.keys(reply.properties ?? {}).join(', ')}`,
      route.summary,
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  lines.push(
    '',
    'A secret is the raw body, `application/octet-stream`. `{scope}` is an id or a path with `/` written as `%2F`.',
    '',
    'Shares of split and threshold slots are lines of text that begin with `scopefs-share-`. Where a reply has them they are its raw',
    `body, and the JSON stands percent-encoded in the header \`${RESULT_HEADER}\`. With \`with=share\` the body of a request is one or`,
    'more of them; while more are needed the answer is 202, a problem with the code `pending`. What is right waits ten minutes for the rest.',
    "A split slot's share is renewed with each unlock: `POST /v1/scopes/{scope}/share` gives the next one, then unlock with the present",
    'one, and hand the next one on. A lost reply locks nobody out: the next one is the same however often it is asked for, and the',
    'present one opens until the next one was used. After that it is refused, and the audit says `share_replay`. Whoever has the present',
    'one and only renews it stays in step with its owner: the audit says `share_renew` with "again" where a share was asked for twice.',
    'Shares of a threshold slot that wait for each other are brought with the same `visible_to` and `ro`.',
    '',
    '## Limits',
    '',
    'A body has at most 4,097 bytes. Headers must arrive within 5 s, a request within 30 s. A uid has at most 64',
    'connections older than a second: one more closes the oldest that are not being served. Answers to wrong keys on one connection come 1, 2,',
    'then 4 s late. Passphrases are tried one at a time for a scope: six wait, and of more one is refused (429 with `Retry-After`).',
    '',
    '## Problems (RFC 9457, `application/problem+json`)',
    '',
    '`type`, `title`, `status`, `code`, `detail`, `request_id`, and where there is advice `hint`; a code may add particulars',
    '(`holders`, `retry_after`, `slot`, `scope`). The command line ends with the exit status of the code.',
    '',
    '| code | HTTP | exit | title |',
    '|---|---|---|---|',
  );
  for (const code of failureCodes) {
    const { httpStatus, exitStatus, title } = new Failure(code as FailureCode, '');
    lines.push(`| ${code} | ${httpStatus} | ${exitStatus} | ${title} |`);
  }
  return `${lines.join('\n')}\n`;
}
