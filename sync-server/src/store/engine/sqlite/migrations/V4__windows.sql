-- Reviews in the order of the feed: which are listed, and which were closed long ago.
CREATE INDEX documents_of_reviews ON base_documents (facility_id, organization_id, collection, seq)
    WHERE collection = 'reviews';
-- A closed review that has left the feed.
ALTER TABLE base_reviews ADD COLUMN archived TEXT;
