// All words of the upload page.
export const TEXTS = {
  title: "Upload files",
  lead: "Large files and bad lines are fine: an upload goes on where it stopped.",
  drop: "Drop files here, or",
  choose: "Choose files",
  earlierTitle: "Not finished yet",
  earlierLead: "Choose the same file again, and its upload goes on where it stopped.",
  uploadsTitle: "Uploads",
};
