//! What a decision says to people.

use crate::{Decision, DeployAction, OperateAction, PolicyRef};

impl DeployAction {
    /// The action's name in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Scale => "scale",
            Self::Delete => "delete",
        }
    }
}

impl OperateAction {
    /// The action's name in policies.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Logs(_) => "logs",
            Self::Exec(_) => "exec",
            Self::Drain(_) => "drain",
            Self::Cordon(_) => "cordon",
            Self::Apply { .. } => "apply",
            Self::ChangePolicy => "change-policy",
        }
    }
}

impl Decision {
    /// The error of a policy among [`Decision::policies`], if it is there because its evaluation failed.
    pub fn failure_of(&self, policy: &PolicyRef) -> Option<&str> {
        let prefix = failure_prefix(policy);
        self.errors.iter().find(|error| error.starts_with(&prefix)).map(String::as_str)
    }

    /// Why it is denied, in one sentence, given the action's name in policies ("create", "place", …): the author's @message where there is one.
    pub fn reason(&self, action: &str) -> String {
        if let Some(error) = self.errors.first() {
            return format!("{error}; while a policy fails, {action} is denied");
        }
        match self.policies.as_slice() {
            [] => format!(
                "no policy permits {action}; add one, such as: permit (principal, action == Action::\"{action}\", resource);"
            ),
            [policy, ..] => match &policy.message {
                Some(message) => message.clone(),
                None => format!("policy `{}` forbids {action}", policy.id),
            },
        }
    }
}

/// How the error of this policy begins.
pub(crate) fn failure_prefix(policy: &PolicyRef) -> String {
    format!("policy `{}` ({}:{}) failed: ", policy.id, policy.file, policy.line)
}
