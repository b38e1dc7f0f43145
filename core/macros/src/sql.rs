//! `sql!`: the scanner's result, with a bound value for every name.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Expr, Lit, LitStr, Token};

use pgspan_scan::{Command, Effect, Inspection, TimeLimit, inspect, named};

/// Expands the tokens between the parentheses of `sql!(…)`.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let Input { sql, arguments } = syn::parse2(input)?;
    let span = sql.span();
    let text = sql.value();
    if text.contains('\0') {
        return Err(syn::Error::new(span, "SQL can't hold a NUL character: remove the `\\0`"));
    }
    let scanned = named(&text).map_err(|problem| syn::Error::new(span, problem))?;
    check(&arguments, &scanned.names)?;

    // a name stands twice among them where it is tested for NULL, too; its value is taken once
    let mut names: Vec<&String> = Vec::with_capacity(scanned.names.len());
    let (mut values, mut uses) = (Vec::with_capacity(scanned.names.len()), Vec::new());
    for (index, name) in scanned.names.iter().enumerate() {
        let place = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if place == names.len() {
            names.push(name);
            values.push(match arguments.iter().find(|argument| argument.is(name)) {
                Some(Argument { value, .. }) => bind_value(value),
                None => bind_variable(&variable(name, span)?),
            });
        }
        let (place, is_null_test) = (Literal::usize_unsuffixed(place), scanned.null_tests.contains(&index));
        uses.push(quote!((#place, #is_null_test)));
    }
    let values = match values.as_slice() {
        [] => quote!(::std::vec::Vec::new()),
        values if scanned.null_tests.is_empty() => quote!(::std::vec![#(#values),*]),
        values => quote!(::pgspan::macros::with_null_tests(&[#(#values),*], &[#(#uses),*])),
    };
    let inspection = inspection(inspect(&scanned.text, &scanned.placed));
    let text = LitStr::new(&scanned.text, span);
    Ok(quote!(::pgspan::Sql::from_macro(#text, #inspection, #values)))
}

/// What the words of the statement say, so that nothing need be read at run time.
fn inspection(inspection: Inspection) -> TokenStream {
    if inspection == Inspection::PLAIN {
        return quote!(::pgspan::macros::Inspection::PLAIN);
    }
    // a parameter inside quotes is no parameter for `named`, and one by hand is an error there
    let Inspection { command, effect, statement_timeout, by_hand: _, hides_parameter: _ } = inspection;
    let command = match command {
        Command::TransactionControl => quote!(TransactionControl),
        Command::Savepoint => quote!(Savepoint),
        Command::PrepareTransaction => quote!(PrepareTransaction),
        Command::CopyIn => quote!(CopyIn),
        Command::CopyOut => quote!(CopyOut),
        Command::SelfCommitting => quote!(SelfCommitting),
        Command::Forget => quote!(Forget),
        Command::Other => quote!(Other),
    };
    let effect = match effect {
        Effect::None => quote!(None),
        Effect::OnlyInTransaction => quote!(OnlyInTransaction),
        Effect::SessionState => quote!(SessionState),
    };
    let statement_timeout = match statement_timeout {
        None => quote!(::std::option::Option::None),
        Some((local, limit)) => {
            let limit = match limit {
                TimeLimit::Default => quote!(Default),
                TimeLimit::Unlimited => quote!(Unlimited),
                TimeLimit::Of(limit) => {
                    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                    quote!(Of(::std::time::Duration::from_millis(#millis)))
                }
            };
            quote!(::std::option::Option::Some((#local, ::pgspan::macros::TimeLimit::#limit)))
        }
    };
    quote! {
        ::pgspan::macros::Inspection {
            command: ::pgspan::macros::Command::#command,
            effect: ::pgspan::macros::Effect::#effect,
            statement_timeout: #statement_timeout,
            ..::pgspan::macros::Inspection::PLAIN
        }
    }
}

/// `"SQL" "and more of it", name = value, …`
struct Input {
    sql: LitStr,
    arguments: Vec<Argument>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let not_text =
            "sql! takes the SQL as a string literal: SQL known only at run time is built with `Sql::new`";
        if input.is_empty() {
            return Err(input.error("sql! wants the SQL: sql!(\"SELECT …\")"));
        }
        let span = input.span();
        let sql = match input.parse() {
            Ok(Lit::Str(sql)) => joined(sql, input)?,
            _ => return Err(syn::Error::new(span, not_text)),
        };
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error("expected a comma, and after it named values: `name = user.name`"));
        }
        let mut arguments = Vec::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            arguments.push(input.parse()?);
        }
        if input.is_empty() { Ok(Self { sql, arguments }) } else { Err(input.error("expected a comma")) }
    }
}

/// A literal with those that stand behind it, as one: they are joined as they are, without a space between them.
fn joined(first: LitStr, input: ParseStream<'_>) -> syn::Result<LitStr> {
    if !input.peek(LitStr) {
        return Ok(first);
    }
    let mut text = first.value();
    while input.peek(LitStr) {
        let next: LitStr = input.parse()?;
        let is_space = |c: Option<char>| c.is_none_or(char::is_whitespace);
        if !is_space(text.chars().next_back()) && !is_space(next.value().chars().next()) {
            let message =
                "two literals are joined as they are: end the first one or begin this one with a space";
            return Err(syn::Error::new(next.span(), message));
        }
        text.push_str(&next.value());
    }
    Ok(LitStr::new(&text, first.span()))
}

/// `name = value`
struct Argument {
    name: Ident,
    value: Expr,
}

impl Argument {
    fn is(&self, name: &str) -> bool {
        self.name.unraw() == name
    }
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(Ident::peek_any) || !input.peek2(Token![=]) || input.peek2(Token![==]) {
            return Err(
                input.error("name the value, as in `name = user.name`, and write `{name}` in the SQL")
            );
        }
        let name = Ident::parse_any(input)?;
        input.parse::<Token![=]>()?;
        Ok(Self { name, value: input.parse()? })
    }
}

/// Every argument is named once, and used.
fn check(arguments: &[Argument], names: &[String]) -> syn::Result<()> {
    let mut wrong: Vec<syn::Error> = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let name = argument.name.unraw();
        if arguments.iter().take(index).any(|earlier| earlier.name.unraw() == name) {
            let message = format!("`{name}` is given twice: remove one of the two");
            wrong.push(syn::Error::new(argument.name.span(), message));
        } else if !names.iter().any(|used| name == used) {
            let message = format!(
                "`{{{name}}}` is nowhere in the SQL: use it or remove the argument (in strings, quoted identifiers and \
                 comments braces are left alone)"
            );
            wrong.push(syn::Error::new(argument.name.span(), message));
        }
    }
    crate::attributes::all_or_errors((), wrong)
}

/// The variable of that name, in the scope where the literal was written.
fn variable(name: &str, span: Span) -> syn::Result<Ident> {
    let refused = || {
        let message =
            format!("`{{{name}}}`: no variable can have this name: give a value, as in `{name} = …`");
        syn::Error::new(span, message)
    };
    if matches!(name, "Self" | "super" | "crate") {
        return Err(refused());
    }
    let mut ident = Ident::parse_any.parse_str(name).map_err(|_| refused())?;
    // `gen` became a keyword with edition 2024; syn doesn't count it among them.
    let keyword = name != "self" && (name == "gen" || syn::parse_str::<Ident>(name).is_err());
    if keyword {
        ident = Ident::new_raw(name, span);
    }
    ident.set_span(span);
    Ok(ident)
}

/// A value given by name; what is wrong with its type is reported where it is written. It may be a temporary, which lives
/// until the end of the statement around the macro.
fn bind_value(value: &Expr) -> TokenStream {
    let span = Span::call_site().located_at(value.span());
    quote_spanned!(span=> ::pgspan::macros::bind(&(#value)))
}

/// A captured variable. The method call looks through references, so that a `&'a String` is borrowed for `'a` and not for
/// as long as the variable lives; the check before it gives the error message for a type that is no parameter.
fn bind_variable(variable: &Ident) -> TokenStream {
    let span = Span::call_site().located_at(variable.span());
    quote_spanned!(span=> {
        use ::pgspan::macros::Bind as _;
        ::pgspan::macros::expect_param(&#variable);
        #variable.pgspan_bind()
    })
}

#[cfg(test)]
mod tests;
