// Creates an encryption task with types that openapi-typescript generated; prints the name of its input.

import createClient from "openapi-fetch";
import type { paths } from "./api";

const [baseUrl, token, config] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const file = new File([new Uint8Array([1, 2, 3])], "firmware.bin");
const { data, error } = await client.POST("/api/v1/encryptionTask", {
  body: { deviceConfigId: config, inputFile: file as unknown as string },
  bodySerializer(body) {
    const form = new FormData();
    form.append("deviceConfigId", body.deviceConfigId as string);
    form.append("inputFile", file, file.name);
    return form;
  },
});
if (error) throw new Error(error.detail);
console.log(data.inputs[0]?.name, data.inputs[0]?.size);
