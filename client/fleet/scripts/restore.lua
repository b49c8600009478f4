-- ARGV: order, sealed token ('' when dropped), digest, end in ms, lifetime in
-- ms, ID of the master key
local theirs, lifetime = tonumber(ARGV[3]), tonumber(ARGV[7])
if order() >= theirs or theirs > 2 * newest + 1 then return answer('refused') end
local g = math.floor(theirs / 2)
put(g, ARGV[4], ARGV[5], math.min(tonumber(ARGV[6]), now + lifetime), ARGV[8])
if number('n') <= g then
  set('n', g)
  redis.call('HDEL', entry, 'h', 'u')
end
written(true)
return answer('ok')
