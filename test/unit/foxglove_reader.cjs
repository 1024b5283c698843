// Reads a bag with the libraries Foxglove reads it with; one JSON line per message.
// NODE_PATH: a node_modules with @mcap/core, @foxglove/rosmsg and @foxglove/rosmsg2-serialization.
const { open } = require("node:fs/promises");
const { McapIndexedReader } = require("@mcap/core");
const { parse } = require("@foxglove/rosmsg");
const { MessageReader } = require("@foxglove/rosmsg2-serialization");

const NUMBERS = ["state", "base", "residual", "command", "action", "actions"];

function readable(handle) {
  return {
    size: async () => BigInt((await handle.stat()).size),
    read: async (offset, length) => {
      const buffer = new Uint8Array(Number(length));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, Number(offset));
      if (bytesRead !== buffer.length) throw new Error(`${bytesRead} of ${length} bytes at ${offset}`);
      return buffer;
    },
  };
}

function hex(array) {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex");
}

async function main(path) {
  const handle = await open(path, "r");
  const reader = await McapIndexedReader.Initialize({ readable: readable(handle) });
  const decoders = new Map();
  for await (const raw of reader.readMessages({ validateCrcs: true })) {
    const channel = reader.channelsById.get(raw.channelId);
    if (!decoders.has(raw.channelId)) {
      const schema = reader.schemasById.get(channel.schemaId);
      if (schema.encoding !== "ros2msg" || channel.messageEncoding !== "cdr") throw new Error(schema.encoding);
      const definition = parse(new TextDecoder().decode(schema.data), { ros2: true });
      decoders.set(raw.channelId, new MessageReader(definition));
    }
    const message = decoders.get(raw.channelId).readMessage(raw.data);
    const told = { topic: channel.topic, received_ns: String(raw.logTime), step: message.step };
    for (const name of NUMBERS) if (message[name] !== undefined) told[name] = hex(message[name]);
    if (message.images !== undefined) told.images = message.images.map((image) => hex(image.data));
    console.log(JSON.stringify(told));
  }
  await handle.close();
}

main(process.argv[2]);
