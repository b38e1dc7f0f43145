//! What the first words of a statement ask for.

use crate::tokens::Tokens;

/// What kind of statement it is, where that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It begins or ends a transaction: BEGIN, START, COMMIT, END, ROLLBACK or ABORT.
    TransactionControl,
    /// SAVEPOINT or RELEASE.
    Savepoint,
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COPY … FROM STDIN.
    CopyIn,
    /// COPY … TO STDOUT.
    CopyOut,
    /// CALL, DO, VACUUM, ANALYZE, CLUSTER, REINDEX, or one with CONCURRENTLY: outside of a transaction it commits by itself while
    /// it runs, so that a part of it may last though it fails.
    SelfCommitting,
    /// DISCARD ALL, DISCARD PLANS or DEALLOCATE: what was prepared may be gone.
    Forget,
    /// Any other.
    Other,
}

impl Command {
    pub(super) fn of(first: &str, mut rest: Tokens<'_>) -> Self {
        let is = |word: &&str| first.eq_ignore_ascii_case(word);
        let is_one_of = |words: &[&str]| words.iter().any(is);
        if is_one_of(&["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"]) {
            Self::TransactionControl
        } else if is_one_of(&["SAVEPOINT", "RELEASE"]) {
            Self::Savepoint
        } else if is(&"COPY") {
            Self::of_copy(rest)
        } else if is_one_of(&["CALL", "DO", "VACUUM", "ANALYZE", "ANALYSE", "CLUSTER", "REINDEX"])
            || is_one_of(&["CREATE", "DROP", "ALTER"]) && rest.any(|token| token.is_one_of(&["CONCURRENTLY"]))
        {
            Self::SelfCommitting
        } else if is(&"DEALLOCATE") || is(&"DISCARD") && rest.eat(&["ALL", "PLANS"]) {
            Self::Forget
        // but PREPARE transaction AS … prepares a statement of that name
        } else if is(&"PREPARE") && rest.eat(&["TRANSACTION"]) && !rest.eat(&["AS", "("]) {
            Self::PrepareTransaction
        } else {
            Self::Other
        }
    }

    /// With a file or a program of the server it is a statement like any other. PostgreSQL takes STDIN for STDOUT, and the other way round.
    fn of_copy(mut rest: Tokens<'_>) -> Self {
        let mut depth = 0_usize;
        while let Some(token) = rest.next() {
            match token.text {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                _ if token.is("FROM") => return if rest.eat(STREAMS) { Self::CopyIn } else { Self::Other },
                _ if token.is("TO") => return if rest.eat(STREAMS) { Self::CopyOut } else { Self::Other },
                _ => {}
            }
        }
        Self::Other
    }
}

const STREAMS: &[&str] = &["STDIN", "STDOUT"];

#[cfg(test)]
mod tests {
    //! Looked for as siblings: what may stand before the first word; words that only begin like a command; the ways of a COPY.

    use super::*;
    use crate::inspect;

    #[test]
    fn the_first_word_says_the_command() {
        for (text, command) in [
            ("BEGIN", Command::TransactionControl),
            ("begin;", Command::TransactionControl),
            (" start transaction", Command::TransactionControl),
            ("COMMIT", Command::TransactionControl),
            ("COMMIT PREPARED 'x'", Command::TransactionControl),
            ("end", Command::TransactionControl),
            ("ROLLBACK TO a", Command::TransactionControl),
            ("abort", Command::TransactionControl),
            ("SAVEPOINT a", Command::Savepoint),
            ("Release a", Command::Savepoint),
            ("PREPARE TRANSACTION 'x'", Command::PrepareTransaction),
            ("COPY users FROM STDIN", Command::CopyIn),
            ("copy users (name, \"from\") from stdout with (format binary)", Command::CopyIn),
            ("COPY \"to\" FROM /* a */ STDIN", Command::CopyIn),
            ("copy(SELECT 1) TO STDOUT", Command::CopyOut),
            ("COPY (SELECT a FROM stdin) TO stdin", Command::CopyOut),
            ("COPY users TO '/tmp/users'", Command::Other),
            ("COPY users FROM PROGRAM 'cat'", Command::Other),
            ("COPY (SELECT ')' FROM b) TO '/tmp/STDOUT'", Command::Other),
            ("COPY users", Command::Other),
            ("CALL p()", Command::SelfCommitting),
            ("DO $$BEGIN END$$", Command::SelfCommitting),
            ("DO'BEGIN END'", Command::SelfCommitting),
            ("vacuum (analyze) users", Command::SelfCommitting),
            ("analyze", Command::SelfCommitting),
            ("REINDEX DATABASE d", Command::SelfCommitting),
            ("CLUSTER users", Command::SelfCommitting),
            ("CREATE UNIQUE INDEX concurrently ON users(name)", Command::SelfCommitting),
            ("DROP INDEX CONCURRENTLY i", Command::SelfCommitting),
            ("ALTER TABLE a DETACH PARTITION b CONCURRENTLY", Command::SelfCommitting),
            ("CREATE INDEX \"CONCURRENTLY\" ON users(name)", Command::Other),
            ("CREATE INDEX i ON users(name) -- CONCURRENTLY", Command::Other),
            ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", Command::Other),
            ("DEALLOCATE p", Command::Forget),
            ("DISCARD ALL", Command::Forget),
            ("discard plans", Command::Forget),
        ] {
            for before in
                ["", " ", "\t\n\r\x0b\x0c", "-- a\n", "-- a\r", "/* a /* b */ */", ";;", "((", "; /**/ ("]
            {
                let text = format!("{before}{text}");
                assert_eq!(inspect(&text, &[]).command, command, "{text:?}");
            }
        }
    }

    #[test]
    fn a_word_that_only_looks_like_a_command_is_none() {
        for text in [
            "",
            "()",
            "--",
            "/* BEGIN",
            "SELECT 1",
            "endless()",
            "BEGIN_",
            "BEGIN1",
            "begin$",
            "beginé",
            "\u{a0}BEGIN",
            "\"BEGIN\"",
            "'BEGIN'",
            "$$BEGIN$$",
            "1 BEGIN",
            "INSERT INTO commit VALUES (1)",
            "PREPARE p AS SELECT 1",
            "PREPARE transaction AS SELECT 1",
            "PREPARE transaction (int) AS SELECT $1",
            "DISCARD TEMP",
            "DISCARD SEQUENCES",
            "EXPLAIN SELECT 1",
        ] {
            assert_eq!(inspect(text, &[]).command, Command::Other, "{text}");
        }
    }
}
