-- What is asked of a facility's devices that are in use walks none that is not, and no other facility's: it holds all
-- that is asked of them, or the planner would rather walk the organization's.
CREATE INDEX devices_in_use ON base_devices (organization_id, facility_id, name, state, phi_mode, device_type)
    WHERE state <> 'REVOKED';
