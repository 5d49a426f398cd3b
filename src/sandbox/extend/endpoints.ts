/** Extend's webhook endpoints and subscriptions: who is to be told of what, and the calls to say so. */
import type { Clock } from "../../base/clock.ts";
import { parsed, type Reply } from "../exchange.ts";
import { newId, ok, pageOf, problem } from "./reply.ts";
import {
  type EndpointRequest,
  readEndpoint,
  readEndpointChange,
  readEndpointList,
  readSubscription,
  readSubscriptionChange,
  readSubscriptionList,
  type SubscriptionRequest,
} from "./request.ts";
import type { Ask, Route } from "./route.ts";

export type Endpoint = EndpointRequest & { readonly id: string; readonly signingSecret: string; readonly createdAt: string };
type Subscription = SubscriptionRequest & { readonly id: string; readonly createdAt: string };

export type Endpoints = {
  readonly routes: readonly Route[];
  readonly any: () => boolean;
  /** The enabled ones that want this event: of everything, or of this extractor. */
  readonly wanting: (eventType: string, extractorId: string | null) => readonly Endpoint[];
};

const MOST_KEPT = 100;

/** `added` is called when there is one endpoint more. */
export function createEndpoints({ clock, added }: { readonly clock: Clock; readonly added: () => void }): Endpoints {
  const endpoints = new Map<string, Endpoint>();
  const subscriptions = new Map<string, Subscription>();

  function addEndpoint({ body }: Ask): Reply {
    return withBody(body, readEndpoint, (request) => {
      const endpoint: Endpoint = { ...request, id: newId("wh"), signingSecret: newId("wss"), createdAt: clock.now().toISOString() };
      keep(endpoints, endpoint);
      added();
      return ok({ ...endpointShape(endpoint), signingSecret: endpoint.signingSecret });
    });
  }

  function listEndpoints({ query }: Ask): Reply {
    const list = readEndpointList(query);
    if (typeof list === "string") return problem(422, list);
    const found = [...endpoints.values()].filter(({ status }) => list.status === undefined || status === list.status);
    const page = pageOf(found.map(endpointShape), list);
    return typeof page === "string" ? problem(422, page) : ok(page);
  }

  function changeEndpoint(endpoint: Endpoint, { body }: Ask): Reply {
    return withBody(body, readEndpointChange, (change) => {
      const changed = { ...endpoint, ...change };
      endpoints.set(endpoint.id, changed);
      return ok(endpointShape(changed));
    });
  }

  /** GUESS: its subscriptions go with it. */
  function removeEndpoint({ id }: Endpoint): Reply {
    endpoints.delete(id);
    for (const one of subscriptions.values()) if (one.webhookEndpointId === id) subscriptions.delete(one.id);
    return ok({ id });
  }

  function addSubscription({ body }: Ask): Reply {
    return withBody(body, readSubscription, (request) => {
      if (!endpoints.has(request.webhookEndpointId)) return problem(404, "no such webhook endpoint");
      const subscription: Subscription = { ...request, id: newId("whs"), createdAt: clock.now().toISOString() };
      keep(subscriptions, subscription);
      return ok(subscriptionShape(subscription));
    });
  }

  function listSubscriptions({ query }: Ask): Reply {
    const list = readSubscriptionList(query);
    if (typeof list === "string") return problem(422, list);
    const found = [...subscriptions.values()].filter(
      ({ webhookEndpointId, resourceId }) =>
        (list.webhookEndpointId === undefined || webhookEndpointId === list.webhookEndpointId) &&
        (list.resourceId === undefined || resourceId === list.resourceId),
    );
    const page = pageOf(found.map(subscriptionShape), list);
    return typeof page === "string" ? problem(422, page) : ok(page);
  }

  function changeSubscription(subscription: Subscription, { body }: Ask): Reply {
    return withBody(body, readSubscriptionChange, (change) => {
      const changed = { ...subscription, ...change };
      subscriptions.set(subscription.id, changed);
      return ok(subscriptionShape(changed));
    });
  }

  function removeSubscription({ id }: Subscription): Reply {
    subscriptions.delete(id);
    return ok({ id });
  }

  const endpoint = (act: (one: Endpoint, asked: Ask) => Reply) => (asked: Ask) => {
    const one = endpoints.get(asked.id);
    return one === undefined ? problem(404, "no such webhook endpoint") : act(one, asked);
  };
  const subscription = (act: (one: Subscription, asked: Ask) => Reply) => (asked: Ask) => {
    const one = subscriptions.get(asked.id);
    return one === undefined ? problem(404, "no such webhook subscription") : act(one, asked);
  };

  return {
    routes: [
      { call: "extend.endpoint", asks: "POST /webhook_endpoints", act: addEndpoint },
      { call: "extend.endpoint", asks: "GET /webhook_endpoints", act: listEndpoints },
      { call: "extend.endpoint", asks: "GET /webhook_endpoints/:id", act: endpoint((one) => ok(endpointShape(one))) },
      { call: "extend.endpoint", asks: "POST /webhook_endpoints/:id", act: endpoint(changeEndpoint) },
      { call: "extend.endpoint", asks: "DELETE /webhook_endpoints/:id", act: endpoint(removeEndpoint) },
      { call: "extend.subscription", asks: "POST /webhook_subscriptions", act: addSubscription },
      { call: "extend.subscription", asks: "GET /webhook_subscriptions", act: listSubscriptions },
      { call: "extend.subscription", asks: "GET /webhook_subscriptions/:id", act: subscription((one) => ok(subscriptionShape(one))) },
      { call: "extend.subscription", asks: "POST /webhook_subscriptions/:id", act: subscription(changeSubscription) },
      { call: "extend.subscription", asks: "DELETE /webhook_subscriptions/:id", act: subscription(removeSubscription) },
    ],
    any: () => endpoints.size > 0,
    wanting: (eventType, extractorId) => {
      const asking = [...subscriptions.values()].filter(
        ({ resourceId, enabledEvents }) => resourceId === extractorId && enabledEvents.some((one) => one === eventType),
      );
      const byExtractor = new Set(asking.map(({ webhookEndpointId }) => webhookEndpointId));
      return [...endpoints.values()].filter(
        ({ id, status, enabledEvents }) => status === "enabled" && (enabledEvents.includes(eventType) || byExtractor.has(id)),
      );
    },
  };
}

function withBody<T>(body: Uint8Array, read: (json: unknown) => T | string, act: (request: T) => Reply): Reply {
  const json = parsed(body);
  if (json === undefined) return problem(400, "the body is not JSON");
  const request = read(json);
  return typeof request === "string" ? problem(422, request) : act(request);
}

function keep<T extends { readonly id: string }>(kept: Map<string, T>, one: T): void {
  kept.set(one.id, one);
  const [oldest] = kept.keys();
  if (kept.size > MOST_KEPT && oldest !== undefined) kept.delete(oldest);
}

/** The signing secret is told once, when the endpoint is made. */
function endpointShape({ signingSecret, advancedOptions, ...endpoint }: Endpoint) {
  return { object: "webhook_endpoint", ...endpoint, advancedOptions: advancedOptions ?? null, createdBy: null };
}

function subscriptionShape(subscription: Subscription) {
  return { object: "webhook_subscription", ...subscription };
}
