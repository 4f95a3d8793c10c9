// Sends events with Databuddy's published SDK and prints what it says of each call as JSON.
// Usage: node track.mjs REQUEST, a JSON object {apiUrl, apiKey, websiteId, calls: [[method, argument], …]}.
import { Databuddy } from "@databuddy/sdk/node";

const { calls, ...config } = JSON.parse(process.argv[2]);
const client = new Databuddy({ batchTimeout: 60_000, namespace: "billing", source: "backend", ...config });
const answers = [];
for (const [method, argument] of calls) {
  answers.push(await client[method](argument));
}
answers.push(await client.flush());
console.log(JSON.stringify(answers));
