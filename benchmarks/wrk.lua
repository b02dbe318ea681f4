-- wrk's script for benchmarks/load.py: post the JSON bodies of a file in turn, one a line, and count the
-- answers by status. The last line it prints is a JSON object behind "RESULT ".
--
--   wrk -t1 -c64 -d60s -s benchmarks/wrk.lua http://127.0.0.1:8080/ -- BODIES.jsonl

local threads = {}

function setup(thread)
  thread:set("first", #threads * 7919) -- each thread begins somewhere else in the file
  table.insert(threads, thread)
end

function init(arguments)
  requests, statuses = {}, {}
  local headers = { ["Content-Type"] = "application/json", ["Host"] = wrk.headers["Host"] }
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
  turn = first % #requests
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function response(status)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
end

function done(summary, latency)
  local total, counts = {}, {}
  for _, thread in ipairs(threads) do
    for name, count in pairs(thread:get("statuses")) do
      total[name] = (total[name] or 0) + count
    end
  end
  for name, count in pairs(total) do
    counts[#counts + 1] = string.format('"%s": %d', name, count)
  end
  io.write("RESULT ", string.format(
    '{"answers": %d, "seconds": %.6f, "by_status": {%s}, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f, '
      .. '"max_ms": %.3f, "socket_errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    summary.requests, summary.duration / 1e6, table.concat(counts, ", "), latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3, summary.errors.connect,
    summary.errors.read, summary.errors.write, summary.errors.timeout))
end
