-- KEYS[1] the feed: a sorted set. Score 0 holds "life:<generation>"; every other score is the number of a notice,
-- "number:added at:kept until:payload", times in milliseconds.
-- ARGV: payload, lifetime in milliseconds, most notices, a generation in case the feed is not there.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local text = function(number) return string.format('%.0f', number) end

local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if not last[1] then
  redis.call('ZADD', KEYS[1], 0, 'life:' .. ARGV[4])
  last = {'', 0}
end
local number = tonumber(last[2]) + 1

-- From the oldest on, a few at a time; those behind one that is kept are kept, too.
local old = 0
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 1, 100)) do
  local ends = string.match(entry, '^%d+:%d+:(%d+):')
  if tonumber(ends) > now then break end
  old = old + 1
end
old = math.max(old, redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3]))
if old > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 1, old) end

local ends = now + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], text(number), table.concat({text(number), text(now), text(ends), ARGV[1]}, ':'))
return 1
