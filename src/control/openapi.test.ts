import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { apiText, openApi, queryOf, replySchemasText } from './openapi.js';
import { parametersOf, routeNames, routeOf } from './routes.js';

const sourceOf = (name: string): string =>
  fileURLToPath(new URL(`../../../src/control/${name}`, import.meta.url));

test('API.md and what the client knows of replies are what the schemas say (SCOPEFS_WRITE=1 writes them)', async (t) => {
  for (const [name, text] of [
    ['API.md', apiText()],
    ['client/reply-schemas.ts', replySchemasText()],
  ] as const) {
    if (process.env.SCOPEFS_WRITE === '1') writeFileSync(sourceOf(name), text);
    t.equal(readFileSync(sourceOf(name), 'utf8'), text, name);
  }
});

test('the OpenAPI document has every route, with its parameters, body and problems', async (t) => {
  const document = openApi('1') as {
    openapi: string;
    paths: Record<
      string,
      Record<string, { parameters: { name: string; in: string }[]; requestBody?: unknown }>
    >;
  };
  t.equal(document.openapi, '3.1.0');
  for (const name of routeNames) {
    const route = routeOf(name);
    const found = document.paths[route.path]?.[route.method];
    t.same(
      found?.parameters.map((parameter) => `${parameter.in} ${parameter.name}`),
      [
        ...parametersOf(route).map((parameter) => `path ${parameter}`),
        ...queryOf(name).map((parameter) => `query ${parameter.name}`),
      ],
      name,
    );
    t.equal(
      found?.requestBody !== undefined,
      route.secret === true,
      `${name}: a body only where it is a secret`,
    );
  }
  t.same(JSON.parse(JSON.stringify(document)), document, 'plain JSON');
});
