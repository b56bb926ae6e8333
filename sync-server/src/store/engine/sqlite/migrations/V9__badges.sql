-- Who issued a badge, by username; none is known of those from before.
ALTER TABLE base_badges ADD COLUMN issued_by TEXT;
