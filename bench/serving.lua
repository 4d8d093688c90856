-- For wrk: POST /reply with the lines of the file that PROMPTS names, in turn; at the end one line of JSON.
local prompts = {}
for line in io.lines(os.getenv("PROMPTS")) do
  if #line > 0 and line:sub(1, 1) ~= "#" then prompts[#prompts + 1] = line:gsub('[\\"%c]', " ") end
end
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local sent = 0
function request()
  sent = sent + 1
  return wrk.format(nil, "/reply", nil, '{"text": "' .. prompts[sent % #prompts + 1] .. '"}')
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"replies": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "refused": %d, "lost": %d}\n',
    summary.requests - errors.status, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write
  ))
end
