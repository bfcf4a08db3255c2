//! The operator's own templates, as they were read when the server started.

/// Files of a directory, each in the place of the built-in one of the same name or beside them. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Theme {
    /// The files.
    pub files: Vec<ThemeFile>,
}

/// A file of a theme.
#[derive(Clone, Debug)]
pub struct ThemeFile {
    /// Its name in the directory.
    pub name: String,
    /// Its path, for who has to correct it.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}
