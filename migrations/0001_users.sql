-- The users of the program: a name exists once.
CREATE TABLE users (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT users_name_key UNIQUE
);
