// Uploads a file with tus-js-client. The only argument is a JSON object: `endpoint`, `token`, `file`, `storage` (file for
// the URLs of unfinished uploads), `stopAt` (bytes after which the process exits with 3; 0 for never).
// Prints {"url": …, "resumedAt": …} when the upload is complete.
import { createReadStream, statSync } from 'node:fs';
import { basename } from 'node:path';
import { FileUrlStorage, Upload } from 'tus-js-client';

const options = JSON.parse(process.argv[2]);
let resumedAt = 0;

const upload = new Upload(createReadStream(options.file), {
  endpoint: options.endpoint,
  headers: { Authorization: `Bearer ${options.token}` },
  metadata: { filename: basename(options.file) },
  uploadSize: statSync(options.file).size,
  chunkSize: 256 * 1024,
  retryDelays: Array(20).fill(50),
  fingerprint: async () => options.file,
  urlStorage: new FileUrlStorage(options.storage),
  onChunkComplete: (_, accepted) => {
    if (options.stopAt && accepted >= options.stopAt) process.exit(3);
  },
  onAfterResponse: (request, response) => {
    if (request.getMethod() === 'HEAD') resumedAt = Math.max(resumedAt, Number(response.getHeader('Upload-Offset')));
  },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log(JSON.stringify({ url: upload.url, resumedAt })),
});

const [previous] = await upload.findPreviousUploads();
if (previous) upload.resumeFromPreviousUpload(previous);
upload.start();
