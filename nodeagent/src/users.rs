//! The users an image knows: its `/etc/passwd` and `/etc/group`. Pure; `rootfs` reads the files.

/// What the two files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserDatabase {
    users: Vec<Entry>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

impl UserDatabase {
    /// Reads both files; lines that make no sense are skipped, as everywhere.
    pub fn read(passwd: &str, group: &str) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(Entry {
                name: (*fields.first()?).to_owned(),
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
                home: fields.get(5).copied().filter(|home| home.starts_with('/')).unwrap_or("/").to_owned(),
            })
        });
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(Group {
                name: (*fields.first()?).to_owned(),
                gid: fields.get(2)?.parse().ok()?,
                members: fields
                    .get(3)
                    .map(|members| members.split(',').map(str::to_owned).collect())
                    .unwrap_or_default(),
            })
        });
        Self { users: users.collect(), groups: groups.collect() }
    }

    /// Whom "", "1000", "app", "1000:1000" or "app:www" means; `None`: nobody here.
    pub fn resolve(&self, text: &str) -> Option<User> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let known = match user.parse::<u32>() {
            Ok(uid) => self.users.iter().find(|entry| entry.uid == uid),
            Err(_) => Some(self.users.iter().find(|entry| entry.name == user)?),
        };
        let uid = known.map(|entry| entry.uid).or_else(|| user.parse().ok())?;
        let gid = match group {
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) => self.groups.iter().find(|entry| entry.name == group)?.gid,
            },
            None => known.map_or(0, |entry| entry.gid),
        };
        // With a group written, it is the only one.
        let groups = match (group, known) {
            (None, Some(known)) => {
                let member = |entry: &&Group| entry.gid != gid && entry.members.contains(&known.name);
                self.groups.iter().filter(member).map(|entry| entry.gid).collect()
            }
            _ => Vec::new(),
        };
        let home = known.map_or(if uid == 0 { "/root" } else { "/" }, |entry| entry.home.as_str()).to_owned();
        Some(User { uid, gid, groups, home })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let database = UserDatabase::read(
            "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:100::/srv:/bin/sh\n",
            "www:x:33:app,other\nusers:x:100:\nbroken:x:y:\n",
        );
        let user =
            |uid, gid, groups: &[u32], home: &str| Some(User { uid, gid, groups: groups.to_vec(), home: home.into() });
        for (text, expected) in [
            ("", user(0, 0, &[], "/root")),
            ("app", user(1000, 100, &[33], "/srv")),
            ("1000", user(1000, 100, &[33], "/srv")),
            ("app:www", user(1000, 33, &[], "/srv")),
            ("5", user(5, 0, &[], "/")),
            ("5:6", user(5, 6, &[], "/")),
            (":33", user(0, 33, &[], "/root")),
            ("nobody", None),
            ("app:nobody", None),
            ("-1", None),
        ] {
            assert_eq!(database.resolve(text), expected, "{text:?}");
        }
    }
}
