// Looks a project up. `npm install @grpc/grpc-js @grpc/proto-loader`, then `node lookup.cjs PROJECT`
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const contract = loadSync("evenkeel/v1/config.proto", {
  includeDirs: [join(__dirname, "../../proto")],
  enums: String, // else the reasons are numbers
  longs: String, // rollout and number may not fit into a double
  defaults: true, // else a duration of less than a second has no seconds
});
const { ConfigService } = grpc.loadPackageDefinition(contract).evenkeel.v1;

// One client for the life of a program.
const address = process.env.EVENKEEL_ADDRESS ?? "127.0.0.1:7400";
const client = new ConfigService(address, grpc.credentials.createInsecure(), {
  "grpc.service_config": readFileSync(join(__dirname, "retry.json"), "utf8"),
  "grpc.default_authority": "localhost", // on a Unix socket it would be the socket's path, which is none
  "grpc.enable_http_proxy": 0, // with http_proxy set, gRPC would look for 127.0.0.1 behind the proxy
  "grpc-node.flow_control_window": 2 << 20,
  "grpc.max_receive_message_length": 33 << 20,
});
client.GetConfig({ project: process.argv[2] }, { deadline: Date.now() + 5000 }, (error, answer) => {
  client.close();
  if (error) throw error;
  if (answer.served === "SERVED_OUTDATED") {
    const seconds = Number(answer.retryAfter.seconds) + answer.retryAfter.nanos / 1e9;
    console.error(`outdated: ${answer.notRefreshed}, retry after ${seconds.toFixed(1)} s`);
  }
  console.log(answer.payload.toString());
});
