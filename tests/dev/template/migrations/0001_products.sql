CREATE TABLE products (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL UNIQUE CHECK (name <> ''),
    cents bigint NOT NULL CHECK (cents >= 0)
);
