-- PING. Whether scripts run here at all, and may write.
--
-- KEYS[1]  a key of its own, which is gone afterwards
-- answer   the server run
write('SET', key, '1', 'PX', '1000')
redis.call('UNLINK', key)
return run
