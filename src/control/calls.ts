import type { z } from 'zod';
import type { ScopeId } from '../base/ids.js';
import type { RouteSchemas } from './route-schemas.js';
import type { ParameterOf, RouteName, Routes } from './routes.js';

/** The types of each route's call, from its rows: nothing of this is there at run time. */
type Query<N extends RouteName> = RouteSchemas[N]['query'];
/** An empty schema has any name, with nothing in it. */
type Fields<T> = string extends keyof T ? Record<never, never> : Readonly<T>;
type Response<N extends RouteName> = z.output<RouteSchemas[N]['response']>;
type Parameter<N extends RouteName> = ParameterOf<Routes[N]['path']>;

/** What a caller asks: the names in the path and in the query, which differ. */
export type Asked<N extends RouteName> = { readonly [P in Parameter<N>]: string } & Fields<z.input<Query<N>>>;

/** The same as a handler gets it: validated, and the scope in its path found. */
export type Given<N extends RouteName> = {
  readonly [P in Parameter<N>]: P extends 'scope' ? ScopeId : string;
} & Fields<z.output<Query<N>>>;

/** What both ends have of a reply: of a list in a field the list. */
export type Reply<N extends RouteName> = Routes[N] extends { list: infer L extends keyof Response<N> }
  ? Response<N>[L]
  : Response<N>;

/** Routes whose body is a secret. */
export type SecretRoute = {
  [N in RouteName]: Routes[N] extends { secret: true } ? N : never;
}[RouteName];
