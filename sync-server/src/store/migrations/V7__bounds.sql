-- From which networks somebody signed in of late, whoever it was.
CREATE INDEX sign_ins_by_good ON base_sign_ins (network, good_at) WHERE good_at IS NOT NULL;
