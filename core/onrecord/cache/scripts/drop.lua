-- DROP. Delete the entry: the strongest mark there is, and always allowed.
--
-- KEYS[1]  the entry
-- answer   1 there was one, 0 there was none
return redis.call('UNLINK', key)
