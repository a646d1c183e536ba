//! The formats of a report.

/// A format in which a report can be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// For a terminal: at most 120 columns, no colours.
    Text,
    /// `report.json`, see [`crate::document`].
    Json,
    /// One self-contained page with charts, without scripts.
    Html,
    /// For a comment on a pull request.
    Markdown,
    /// `JUnit` XML: one case for each SLA.
    Junit,
    /// The timeline, one row for each stretch of run time.
    Csv,
    /// The self-health of the workers as comma-separated values, one row for each stretch of run time of each worker.
    Health,
    /// An HDR histogram interval log: response and service times.
    Hlog,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Json,
        Self::Html,
        Self::Markdown,
        Self::Junit,
        Self::Csv,
        Self::Health,
        Self::Hlog,
    ];

    /// The word used in arguments and URLs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Csv => "csv",
            Self::Health => "health",
            Self::Hlog => "hlog",
        }
    }

    /// Reads [`Format::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }

    /// The name of the file in a folder of reports.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Text => "report.txt",
            Self::Json => "report.json",
            Self::Html => "report.html",
            Self::Markdown => "report.md",
            Self::Junit => "junit.xml",
            Self::Csv => "timeline.csv",
            Self::Health => "health.csv",
            Self::Hlog => "latency.hlog",
        }
    }

    /// The media type for HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text | Self::Hlog => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Junit => "application/xml; charset=utf-8",
            Self::Csv | Self::Health => "text/csv; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for format in Format::ALL {
            assert_eq!(Format::from_word(format.word()), Some(format));
        }
        assert_eq!(Format::from_word("Text"), None);
    }
}
