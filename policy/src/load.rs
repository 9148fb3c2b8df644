//! Policy files to a validated set: all problems of all files at once, or a set that is whole.

use crate::error::{PolicyError, SourceText};
use crate::statements::{
    BRACKETS_OPEN_MAX, Excess, FILE_BYTES_MAX, OPERATORS_MAX, POLICIES_MAX, Statement, statements,
};
use crate::{PolicyRef, SCHEMA};
use cedar_policy::{
    ActionConstraint, Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator,
};
use miette::{Diagnostic, LabeledSpan};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

/// Problems told at once; nobody reads more.
const ERRORS_MAX: usize = 1_000;

/// A named Cedar text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// As the user named the file; shown in messages.
    pub name: String,
    /// Cedar policies.
    pub text: String,
    /// Line number (from 1) of the text's first line within the file.
    pub first_line: usize,
}

/// A policy that parsed.
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) reference: PolicyRef,
    file: usize,
    range: Range<usize>,
    /// Where the text that Cedar was given begins in the file: its spans count from there.
    parsed_from: usize,
}

/// The schema, parsed once.
pub(crate) fn schema() -> &'static Schema {
    static PARSED: LazyLock<Schema> = LazyLock::new(|| {
        let (schema, _warnings) =
            Schema::from_cedarschema_str(SCHEMA).expect("the schema that ships is valid, a test parses it");
        schema
    });
    &PARSED
}

/// Parses and validates every policy of every file.
pub(crate) fn load(files: &[PolicySource]) -> Result<Vec<Loaded>, Vec<PolicyError>> {
    let sources: Vec<SourceText> =
        files.iter().map(|file| SourceText::new(&file.name, &file.text, file.first_line)).collect();
    let mut errors = Vec::new();
    let mut loaded = Vec::new();
    for (index, (file, source)) in files.iter().zip(&sources).enumerate() {
        load_file(index, file, source, &mut loaded, &mut errors);
        if errors.len() >= ERRORS_MAX {
            break;
        }
    }
    check_ids(&loaded, &sources, &mut errors);
    validate(&loaded, &sources, &mut errors);
    if errors.is_empty() {
        return Ok(loaded);
    }
    let names: BTreeMap<&str, usize> =
        files.iter().enumerate().map(|(at, file)| (file.name.as_str(), at)).rev().collect();
    errors.sort_by_key(|error| (names.get(error.file.as_str()).copied(), error.line, error.column));
    errors.truncate(ERRORS_MAX);
    Err(errors)
}

fn load_file(
    index: usize,
    file: &PolicySource,
    source: &SourceText,
    loaded: &mut Vec<Loaded>,
    errors: &mut Vec<PolicyError>,
) {
    if file.text.len() > FILE_BYTES_MAX {
        let too_large =
            format!("the file has {} bytes, more than the {FILE_BYTES_MAX} a policy file may have", file.text.len());
        errors.push(source.error(0..0, too_large).with_help("split it into several files"));
        return;
    }
    let statements = statements(&file.text);
    if loaded.len() + statements.len() > POLICIES_MAX {
        let too_many =
            format!("with the {} policies of this file there are more than {POLICIES_MAX}", statements.len());
        errors.push(source.error(0..0, too_many).with_help("say more with fewer: compare with sets, labels and teams"));
        return;
    }
    if let Some(policies) = parse_whole(&file.text, &statements) {
        for (number, (policy, statement)) in policies.into_iter().zip(statements).enumerate() {
            // Cedar's own id is our position: unique whatever @id says.
            let policy = policy.new_id(PolicyId::new(loaded.len().to_string()));
            let reference = reference(&policy, file, source, &statement, number);
            loaded.push(Loaded { policy, reference, file: index, range: statement.range, parsed_from: 0 });
        }
        return;
    }
    for (number, statement) in statements.into_iter().enumerate() {
        if let Some(excess) = statement.excess {
            errors.push(excess_error(source, &statement, excess));
            continue;
        }
        let parsed_from = statement.range.start;
        let id = PolicyId::new(loaded.len().to_string());
        match Policy::parse(Some(id), &file.text[statement.range.clone()]) {
            Ok(policy) => {
                let reference = reference(&policy, file, source, &statement, number);
                loaded.push(Loaded { policy, reference, file: index, range: statement.range, parsed_from });
            }
            Err(parse_errors) => {
                let related = parse_errors.related().into_iter().flatten();
                let all = std::iter::once(&parse_errors as &dyn Diagnostic).chain(related);
                errors
                    .extend(all.take(ERRORS_MAX).map(|error| from_cedar(source, &statement.range, parsed_from, error)));
                if errors.len() >= ERRORS_MAX {
                    return;
                }
            }
        }
    }
}

/// The policies of a file without mistakes, in order: ten times as fast as one by one. `None` sends us to look closer.
fn parse_whole(text: &str, statements: &[Statement]) -> Option<Vec<Policy>> {
    if statements.iter().any(|statement| statement.excess.is_some()) {
        return None;
    }
    let set: PolicySet = text.parse().ok()?;
    if set.num_of_templates() > 0 || set.num_of_policies() != statements.len() {
        return None;
    }
    // Cedar names what it parses policy0, policy1, … in the order of the text.
    (0..statements.len()).map(|number| set.policy(&PolicyId::new(format!("policy{number}"))).cloned()).collect()
}

fn reference(
    policy: &Policy,
    file: &PolicySource,
    source: &SourceText,
    statement: &Statement,
    number: usize,
) -> PolicyRef {
    PolicyRef {
        id: policy.annotation("id").map_or_else(|| format!("{}#{}", file.name, number + 1), str::to_owned),
        file: file.name.clone(),
        line: source.line(statement.range.start),
        message: policy.annotation("message").map(str::to_owned),
    }
}

fn excess_error(source: &SourceText, statement: &Statement, excess: Excess) -> PolicyError {
    match excess {
        Excess::Brackets(at) => source
            .error(at..at + 1, format!("more than {BRACKETS_OPEN_MAX} brackets are open here"))
            .with_help("split the policy into several, each with a simpler condition"),
        Excess::Operators(at) => source
            .error(at..statement.range.end.min(at + 1), format!("the policy has more than {OPERATORS_MAX} operators"))
            .with_help("split it into several policies, or compare with a set: `[\"a\", \"b\"].contains(…)`"),
    }
}

/// Takes over an error of Cedar's about one statement.
fn from_cedar(
    source: &SourceText,
    statement: &Range<usize>,
    parsed_from: usize,
    error: &dyn Diagnostic,
) -> PolicyError {
    let mut labels: Vec<LabeledSpan> = error
        .labels()
        .into_iter()
        .flatten()
        .map(|label| {
            let at = (label.offset() + parsed_from, label.len());
            LabeledSpan::new_with_span(label.label().map(str::to_owned), at)
        })
        .collect();
    if labels.is_empty() {
        labels.push(LabeledSpan::underline(statement.clone()));
    }
    let mut converted = source.error_with_labels(labels, error.to_string());
    converted.help = error.help().map(|help| help.to_string());
    converted
}

/// Every id is used once, and what people are shown can be shown.
fn check_ids(loaded: &[Loaded], sources: &[SourceText], errors: &mut Vec<PolicyError>) {
    let mut first: BTreeMap<&str, &Loaded> = BTreeMap::new();
    for one in loaded {
        let source = &sources[one.file];
        let mut report = |message: String, help: &str| {
            errors.push(source.error(one.range.clone(), message).with_help(help));
        };
        let id = one.reference.id.as_str();
        if id.is_empty() {
            report("@id is empty".to_owned(), "give the policy a name that is used once");
        } else if let Some(earlier) = first.insert(id, one) {
            let at = format!("{}:{}", earlier.reference.file, earlier.reference.line);
            report(format!("the id `{id}` is used already, at {at}"), "give each policy an @id of its own");
        }
        for (key, value) in one.policy.annotations() {
            if value.chars().any(char::is_control) {
                report(format!("@{key} contains a control character"), "write it as plain text on one line");
            }
        }
    }
}

/// Cedar's strict validation against the schema.
fn validate(loaded: &[Loaded], sources: &[SourceText], errors: &mut Vec<PolicyError>) {
    let set = match PolicySet::from_policies(loaded.iter().map(|one| one.policy.clone())) {
        Ok(set) => set,
        // Cannot happen: the ids are positions. If it does, nothing is accepted.
        Err(error) => return errors.extend(sources.first().map(|source| source.error(0..0, error.to_string()))),
    };
    let result = Validator::new(schema().clone()).validate(&set, ValidationMode::Strict);
    let mut report = |id: &PolicyId, error: &dyn Diagnostic| {
        let one = position(id).and_then(|at| loaded.get(at)).expect("Cedar names policies we gave it");
        let mut converted = from_cedar(&sources[one.file], &one.range, one.parsed_from, error);
        let prefix = format!("for policy `{id}`, ");
        if let Some(message) = converted.message.strip_prefix(&prefix) {
            converted.message = message.to_owned();
        }
        errors.push(converted);
    };
    for error in result.validation_errors() {
        report(error.policy_id(), error);
    }
    // What is mistyped can often not apply either: the mistake is enough to say.
    let faulty: BTreeSet<String> = result.validation_errors().map(|error| error.policy_id().to_string()).collect();
    let others = result.validation_warnings().filter(|warning| !faulty.contains(&warning.policy_id().to_string()));
    for warning in others.filter(|warning| is_fatal(warning)) {
        report(warning.policy_id(), warning);
    }
}

/// A policy that can never apply protects nothing, and one with hidden characters does not say what it seems to say.
fn is_fatal(warning: &ValidationWarning) -> bool {
    match warning {
        ValidationWarning::ImpossiblePolicy(_)
        | ValidationWarning::InvalidActionApplication(_)
        | ValidationWarning::BidiCharsInString(_)
        | ValidationWarning::BidiCharsInIdentifier(_)
        | ValidationWarning::MixedScriptIdentifier(_)
        | ValidationWarning::ConfusableIdentifier(_) => true,
        // Labels and messages may be in any language.
        _ => false,
    }
}

/// The position of a policy in the list of loaded ones.
pub(crate) fn position(id: &PolicyId) -> Option<usize> {
    id.to_string().parse().ok()
}

/// Whether a policy's scope lets it apply to an action, given the group the action is in.
pub(crate) fn applies_to(policy: &Policy, action: &str, group: Option<&str>) -> bool {
    let named = |uid: &cedar_policy::EntityUid, name: &str| uid.id().unescaped() == name;
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => named(&uid, action),
        ActionConstraint::In(uids) => {
            uids.iter().any(|uid| named(uid, action) || group.is_some_and(|group| named(uid, group)))
        }
    }
}
