//! Variables: what a name stands for at one point of a Dockerfile.

use dockerfile::Variables;

use crate::{Request, Variable};

/// Variables in the order in which they were first set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scope(Vec<Variable>);

impl Scope {
    /// Sets a variable, in its place or at the end. Of ENV and ARG with the same name the last one
    /// counts (A5), so there is only one table.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => value.clone_into(&mut variable.value),
            None => self.0.push(Variable {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let variable = self.0.iter().find(|variable| variable.name == name)?;
        Some(&variable.value)
    }

    pub(crate) fn variables(&self) -> &[Variable] {
        &self.0
    }

    /// What is there before the first line: the platform arguments (A9), which a build argument of
    /// the same name overrides.
    pub(crate) fn predefined(request: &Request, target_stage: Option<&str>) -> Self {
        let mut scope = Self::default();
        for (prefix, platform) in [
            ("BUILD", &request.build_platform),
            ("TARGET", &request.platform),
        ] {
            let variant = platform.variant.as_deref().unwrap_or("");
            let version = platform.os_version.as_deref().unwrap_or("");
            scope.set(&format!("{prefix}PLATFORM"), &platform.to_string());
            scope.set(&format!("{prefix}OS"), &platform.os);
            scope.set(&format!("{prefix}OSVERSION"), version);
            scope.set(&format!("{prefix}ARCH"), &platform.architecture);
            scope.set(&format!("{prefix}VARIANT"), variant);
        }
        scope.set("TARGETSTAGE", target_stage.unwrap_or("default"));
        for variable in &mut scope.0 {
            if let Some(value) = request.build_args.get(&variable.name) {
                value.clone_into(&mut variable.value);
            }
        }
        scope
    }
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }
}
