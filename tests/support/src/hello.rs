//! The images of specs/examples/hello: three small programs in shell that talk to each other over HTTP and IPv6.

use crate::ImageSpec;

/// An image's name and tag in the registry, and its content.
pub type Named = (&'static str, &'static str, ImageSpec);

/// Starts busybox' httpd on IPv6 with the programs in /www/cgi-bin, and ends with it. The shell is the first process because
/// httpd does not listen to SIGTERM, and the kernel spares a first process that does not.
const SERVE: &str = r#"#!/bin/sh
trap 'kill -9 $httpd; exit 0' TERM
httpd -f -v -p '[::]:8080' -h /www &
httpd=$!
echo "$(hostname) listens on [::]:8080"
wait $httpd
"#;

/// Counts. One replica holds the number, in memory.
const COUNTER: &str = r#"#!/bin/sh
# Appending one byte is atomic, so that no visit is lost without any lock.
printf . >> /tmp/visits
printf 'Content-Type: text/plain\r\n\r\n%s\n' "$(wc -c < /tmp/visits)"
"#;

// Not `wget -T`: that of Debian 12 crashes.
/// Greets, and asks the counter how often it has been asked.
const GREETER: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
if visits=$(timeout 3 wget -q -O - "http://${COUNTER}:8080/cgi-bin/count"); then
    echo "${GREETING:-hello} from greeter $(hostname), visit ${visits}"
else
    echo "${GREETING:-hello} from greeter $(hostname), but ${COUNTER} does not answer"
fi
"#;

/// What the world sees: a page made of what the greeter says.
const WEB: &str = r#"#!/bin/sh
greeting=$(timeout 3 wget -q -O - "http://${GREETER}:8080/cgi-bin/greet") || greeting="${GREETER} does not answer"
printf 'Content-Type: text/plain\r\n\r\n%s (through web %s)\n' "$greeting" "$(hostname)"
echo "answered $REMOTE_ADDR: $greeting" >&2
"#;

/// All of them; the newest `greeter` is there twice, as versions 1 and 2.
pub fn images() -> Vec<Named> {
    let service = |name: &str, program: &str| {
        ImageSpec::busybox()
            .script("/bin/serve", SERVE)
            .script(&format!("/www/cgi-bin/{name}"), program)
            .file("/www/healthz", "ok\n")
            .entrypoint(["/bin/serve"])
    };
    vec![
        ("hello/counter", "1", service("count", COUNTER)),
        ("hello/greeter", "1", service("greet", GREETER)),
        ("hello/greeter", "2", service("greet", GREETER).env("GREETING", "good day")),
        ("hello/web", "1", service("hello", WEB)),
    ]
}
