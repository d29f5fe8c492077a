//! What users come with, as the pages of docs/ tell it: every command of a page is typed into a
//! shell, in its order, and shows what the page shows. Registries and Google are on loopback, under
//! their own names.

mod channels;
mod image_guide;
mod page;
mod person;

use testkit::{Google, Registry};

use self::person::Person;

/// Has names of registries lead elsewhere.
fn registries_conf(places: &[(&str, &str)]) -> String {
    let rule = |(prefix, location): &(&str, &str)| {
        format!(
            "[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{location}\"\ninsecure = true\n\n"
        )
    };
    places.iter().map(rule).collect()
}

/// Lets somebody reach registries and Google.
fn connect(person: &mut Person, google: &Google, registry: &str, places: &[(&str, &str)]) {
    let conf = person.home("registries.conf", &registries_conf(places));
    person.set("CONTAINERS_REGISTRIES_CONF", conf);
    person.set("KILN_GOOGLE_HOSTS", registry);
    person.set("NO_GCE_CHECK", "true");
    for (name, value) in google.variables() {
        person.set(name, value);
    }
}

/// What `gcloud auth application-default login` leaves behind.
fn log_in(person: &Person, google: &Google) {
    let file = ".config/gcloud/application_default_credentials.json";
    person.home(file, &google.authorized_user().to_string());
}

/// Requests that changed something, since the log was cleared.
fn writes(registry: &Registry) -> Vec<String> {
    let lines = registry.lines().into_iter();
    let is_write = |line: &String| !line.starts_with("GET") && !line.starts_with("HEAD");
    lines.filter(is_write).collect()
}
