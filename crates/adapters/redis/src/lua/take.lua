-- KEYS[1] the bucket: "tokens time", or nothing while it is full.
-- ARGV: tokens wanted, burst, tokens a second, 1: all of them or none, 0: as many whole ones as there are.
-- Gives the tokens taken and, when they are fewer than wanted, the microseconds until there are more.
local DAY = 86400 * 1000000
local wanted, burst, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local all = ARGV[4] == '1'

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function time_for(tokens)
  if tokens <= 0 then return 0 end
  if rate <= 0 then return DAY end
  return math.min(DAY, math.ceil(tokens / rate * 1000000))
end

local tokens = burst
local held = redis.call('GET', KEYS[1])
if held then
  local level, at = string.match(held, '^(%S+) (%S+)$')
  -- A clock that has gone back (a failover) gains nothing.
  tokens = math.min(burst, tonumber(level) + math.max(0, now - tonumber(at)) * rate / 1000000)
end

local taken, wait = 0, 0
if all then
  if tokens >= wanted then taken = wanted else wait = time_for(wanted - tokens) end
else
  taken = math.min(wanted, math.floor(tokens))
  if taken < wanted then wait = time_for(1 - (tokens - taken)) end
end
tokens = tokens - taken

local full = math.ceil(time_for(burst - tokens) / 1000)
if full > 0 then
  redis.call('SET', KEYS[1], string.format('%.17g %.0f', tokens, now), 'PX', string.format('%.0f', full))
elseif held then
  redis.call('DEL', KEYS[1])
end
return {taken, wait}
