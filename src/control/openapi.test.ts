import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { apiText, openApi, queryOf } from './openapi.js';
import { parametersOf, routeNames, routeOf } from './routes.js';

const path = fileURLToPath(new URL('../../../src/control/API.md', import.meta.url));

test('API.md is what the schemas say (SCOPEFS_WRITE=1 writes it)', async (t) => {
  if (process.env.SCOPEFS_WRITE === '1') writeFileSync(path, apiText());
  t.equal(readFileSync(path, 'utf8'), apiText());
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
