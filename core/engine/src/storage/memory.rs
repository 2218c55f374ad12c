//! Files in memory, for `mem:` databases.
