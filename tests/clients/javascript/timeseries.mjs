// Asks for a time series through a client generated from the protos, and prints it as JSON.
// Usage: node timeseries.mjs REQUEST, a JSON object {baseUrl, protocol, applicationId, key, query}.
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { TimeseriesService } from "./generated/footfall/v1/timeseries_pb.js";

const { baseUrl, protocol, applicationId, key, query } = JSON.parse(process.argv[2]);
const credentials = (next) => (request) => {
  request.header.set("x-auth-user", applicationId);
  request.header.set("x-auth-key", key);
  return next(request);
};
const makeTransport = { grpc: createGrpcTransport, "grpc-web": createGrpcWebTransport }[protocol];
const transport = makeTransport({ baseUrl, interceptors: [credentials] });
const answer = await createClient(TimeseriesService, transport).queryTimeseries({
  ...query,
  start: BigInt(query.start),
  end: BigInt(query.end),
});
const groups = Object.fromEntries(
  answer.groups.map(({ key, points }) => [
    key,
    points.map(({ time, value }) => [Number(time), Number(value.value)]),
  ]),
);
console.log(
  JSON.stringify({
    groups,
    start: Number(answer.start),
    end: Number(answer.end),
    granularity: Number(answer.granularityMs),
  }),
);
