// Subscribes and prints every message as one line of JSON; ends with the server's close code.
import { createRequire } from "node:module";

const [, , modules, url, request] = process.argv;
const WebSocket = createRequire(modules + "/")("ws");
const socket = new WebSocket(url);
socket.on("open", () => socket.send(request));
socket.on("message", (message) => console.log(message.toString()));
socket.on("error", (error) => console.error(error.message));
socket.on("close", (code) => console.log(`closed ${code}`));
