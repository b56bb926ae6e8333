-- From which networks somebody signed in of late, whoever it was.
CREATE INDEX sign_ins_by_good ON base_sign_ins (network, good_at) WHERE good_at IS NOT NULL;

-- From which network a device came into the lobby; none is known of those from before.
ALTER TABLE base_enrollments ADD COLUMN network TEXT NOT NULL DEFAULT '';
CREATE INDEX enrollments_by_network ON base_enrollments (network, expires_at) WHERE organization_id IS NULL;
