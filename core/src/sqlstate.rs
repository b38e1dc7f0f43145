//! What a SQLSTATE means, in PostgreSQL's words.
//!
//! Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes". A server's message can hold values that
//! users typed, so errors are shown by these names instead.

pub use tokio_postgres::error::SqlState;

/// The name of the class a code belongs to: its first two characters.
pub fn class_name(code: &SqlState) -> &'static str {
    match code.code().get(..2).unwrap_or_default() {
        "00" => "successful completion",
        "01" => "warning",
        "02" => "no data",
        "03" => "SQL statement not yet complete",
        "08" => "connection exception",
        "09" => "triggered action exception",
        "0A" => "feature not supported",
        "0B" => "invalid transaction initiation",
        "0F" => "locator exception",
        "0L" => "invalid grantor",
        "0P" => "invalid role specification",
        "0Z" => "diagnostics exception",
        "20" => "case not found",
        "21" => "cardinality violation",
        "22" => "data exception",
        "23" => "integrity constraint violation",
        "24" => "invalid cursor state",
        "25" => "invalid transaction state",
        "26" => "invalid SQL statement name",
        "27" => "triggered data change violation",
        "28" => "invalid authorization specification",
        "2B" => "dependent privilege descriptors still exist",
        "2D" => "invalid transaction termination",
        "2F" => "SQL routine exception",
        "34" => "invalid cursor name",
        "38" => "external routine exception",
        "39" => "external routine invocation exception",
        "3B" => "savepoint exception",
        "3D" => "invalid catalog name",
        "3F" => "invalid schema name",
        "40" => "transaction rollback",
        "42" => "syntax error or access rule violation",
        "44" => "WITH CHECK OPTION violation",
        "53" => "insufficient resources",
        "54" => "program limit exceeded",
        "55" => "object not in prerequisite state",
        "57" => "operator intervention",
        "58" => "system error",
        "F0" => "configuration file error",
        "HV" => "foreign data wrapper error",
        "P0" => "PL/pgSQL error",
        "XX" => "internal error",
        _ => "unknown class",
    }
}

/// The name of the condition, for the codes a program meets; the class's name for the others.
pub fn condition_name(code: &SqlState) -> &'static str {
    match code.code() {
        "21000" => "cardinality violation",
        "22001" => "string data right truncation",
        "22003" => "numeric value out of range",
        "22007" => "invalid datetime format",
        "22008" => "datetime field overflow",
        "22012" => "division by zero",
        "22021" => "character not in repertoire",
        "22023" => "invalid parameter value",
        "22P02" => "invalid text representation",
        "22P03" => "invalid binary representation",
        "23001" => "restrict violation",
        "23502" => "not null violation",
        "23503" => "foreign key violation",
        "23505" => "unique violation",
        "23514" => "check violation",
        "23P01" => "exclusion violation",
        "25001" => "active SQL transaction",
        "25006" => "read only SQL transaction",
        "25P01" => "no active SQL transaction",
        "25P02" => "in failed SQL transaction",
        "25P03" => "idle in transaction session timeout",
        "26000" => "invalid SQL statement name",
        "28000" => "invalid authorization specification",
        "28P01" => "invalid password",
        "3D000" => "database does not exist",
        "3F000" => "schema does not exist",
        "40001" => "serialization failure",
        "40P01" => "deadlock detected",
        "42501" => "insufficient privilege",
        "42601" => "syntax error",
        "42703" => "undefined column",
        "42704" => "undefined object",
        "42804" => "datatype mismatch",
        "42883" => "undefined function",
        "42P01" => "undefined table",
        "42P18" => "indeterminate datatype",
        "53100" => "disk full",
        "53200" => "out of memory",
        "53300" => "too many connections",
        "55P03" => "lock not available",
        "57014" => "query canceled",
        "57P01" => "admin shutdown",
        "57P02" => "crash shutdown",
        "57P03" => "cannot connect now",
        "57P05" => "idle session timeout",
        "08P01" => "protocol violation",
        "P0001" => "raise exception",
        _ => class_name(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_condition_and_an_unlisted_one_its_class() {
        assert_eq!(condition_name(&SqlState::UNIQUE_VIOLATION), "unique violation");
        assert_eq!(class_name(&SqlState::UNIQUE_VIOLATION), "integrity constraint violation");
        assert_eq!(condition_name(&SqlState::from_code("22P06")), "data exception");
        assert_eq!(condition_name(&SqlState::from_code("é")), "unknown class");
    }
}
