"""A memory for other programs: OpenAI's interface and our own over HTTP, and a page for people.

config, keys        what the server is told: where, for whom, how much
guard, body         what is refused before anybody works on it
choice, limits      what is read for a question, and where its answer is cut
worker              one thread that answers questions together
service, running    what can be done with the memory, and waiting for it without stopping others
openai_*, memory_*  the forms of the two interfaces, and their addresses
failures, measures  what a failure looks like; what is counted
app                 all of it as one application
listening, run      the application as a process
page/               HTML, CSS and JavaScript as they are sent
"""
