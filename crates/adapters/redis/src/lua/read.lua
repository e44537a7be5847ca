-- KEYS[1] a feed, as append.lua keeps it. ARGV: generation and number of the last notice read, most notices to give.
-- Gives the generation, the number after which was read, the number of the oldest notice, the server's milliseconds,
-- and the notices.
local life = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not life then return {'0', 0, 1, 0, {}} end
local generation = string.sub(life, 6)
local last = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])

local after = tonumber(ARGV[2])
-- Numbers of another life mean nothing; nor do those that a failover has lost.
if generation ~= ARGV[1] or after > last then after = 0 end

local oldest = redis.call('ZRANGE', KEYS[1], 1, 1, 'WITHSCORES')[2]
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', after), '+inf', 'LIMIT', 0, ARGV[3])
local time = redis.call('TIME')
return {generation, after, tonumber(oldest or last + 1), time[1] * 1000 + math.floor(time[2] / 1000), found}
